package doctor

import "golang.org/x/sys/unix"

// memory is the size of the machine's memory, or 0 where it is not to be had.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
