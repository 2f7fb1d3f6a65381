package cpu

import "math"

// Portable 3×3 windows around the pixels of rows.

// columnsAround calls run for the pixels that a window around pixel p of a row of so many has.
func columnsAround(p, pixels int, run func(column int)) {
	for column := max(0, p-1); column < min(pixels, p+2); column++ {
		run(column)
	}
}

func sumAround(y []float32, x [3][]float32, share []float32, channels, pixels, rows int) {
	c := channels
	for r := range rows {
		for p := range pixels {
			at := (r*pixels + p) * c
			out := y[at:][:c]
			clear(out)
			for _, row := range x {
				columnsAround(p, pixels, func(column int) {
					for i, v := range row[(r*pixels+column)*c:][:c] {
						out[i] += v
					}
				})
			}
			for i, v := range share[p*c:][:c] {
				out[i] *= v
			}
		}
	}
}

func maxAround(y []float32, x [3][]float32, channels, pixels, rows int) {
	c := channels
	for r := range rows {
		for p := range pixels {
			out := y[(r*pixels+p)*c:][:c]
			fillRow(out, float32(math.Inf(-1)))
			columnsAround(p, pixels, func(column int) {
				for _, row := range x {
					for i, v := range row[(r*pixels+column)*c:][:c] {
						out[i] = max(out[i], v)
					}
				}
			})
		}
	}
}

func maxAroundGrad(dx [3][]float32, g []float32, x [3][]float32, channels, pixels, rows int) {
	c := channels
	for r := range rows {
		for p := range pixels {
			for i, v := range g[(r*pixels+p)*c:][:c] {
				best, row, at := float32(math.Inf(-1)), 1, (r*pixels+p)*c+i
				for k := range x {
					columnsAround(p, pixels, func(column int) {
						if from := (r*pixels+column)*c + i; x[k][from] > best {
							best, row, at = x[k][from], k, from
						}
					})
				}
				dx[row][at] += v
			}
		}
	}
}
