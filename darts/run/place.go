package run

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// place is where a checkpoint lies: the folder name is its step, with a suffix for one that is on its way out.
type place struct {
	step int64
	fate fate
}

type fate int

const (
	current  fate = iota
	replaced      // by another of the same step; it counts where the other is not whole
	damaged       // set aside by Resume; never read
)

var suffixes = [...]string{current: "", replaced: ".replaced", damaged: ".damaged"}

func (p place) name() string { return fmt.Sprintf("%010d%s", p.step, suffixes[p.fate]) }

func parsePlace(name string) (place, bool) {
	digits, suffix, found := strings.Cut(name, ".")
	if found {
		suffix = "." + suffix
	}
	step, err := strconv.ParseInt(digits, 10, 64)
	p := place{step: step, fate: fate(slices.Index(suffixes[:], suffix))}
	if err != nil || step < 0 || p.fate < 0 {
		return place{}, false
	}
	return p, p.name() == name
}

// allPlaces lists the checkpoints' folders, the newest first.
func (f *Folder) allPlaces() ([]place, error) {
	entries, err := os.ReadDir(filepath.Join(f.path, checkpointsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var places []place
	for _, entry := range entries {
		if p, ok := parsePlace(entry.Name()); ok {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(-cmp.Compare(a.step, b.step), cmp.Compare(a.fate, b.fate))
	})
	return places, nil
}

// places lists those that may be read.
func (f *Folder) places() ([]place, error) {
	places, err := f.allPlaces()
	return slices.DeleteFunc(places, func(p place) bool { return p.fate == damaged }), err
}
