package data

// jitter is torchvision's ColorJitter(0.4, 0.4, 0.4, 0.2) on RGBA pixels: brightness, contrast, saturation and hue, each
// changed by a factor of its own, in a random order.
func jitter(pix []uint8, random *draws) {
	changes := [](func(pix []uint8, by float64)){brightness, contrast, saturation, hue}
	by := [4]float64{random.uniform(0.6, 1.4), random.uniform(0.6, 1.4), random.uniform(0.6, 1.4), random.uniform(-0.2, 0.2)}
	order := [4]int{0, 1, 2, 3}
	for i := 3; i > 0; i-- {
		j := random.intn(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	for _, i := range order {
		changes[i](pix, by[i])
	}
}

// clamp rounds to a pixel's range.
func clamp(v float32) uint8 { return uint8(min(max(v+0.5, 0), 255)) }

// luma is the brightness of a pixel in the units of its colours (ITU-R BT.601).
func luma(p []uint8) float32 {
	return 0.299*float32(p[0]) + 0.587*float32(p[1]) + 0.114*float32(p[2])
}

// towards moves every colour away from one grey: out of it by a factor above 1, towards it by one below.
func towards(pix []uint8, grey, by float32) {
	var table [256]uint8
	for v := range table {
		table[v] = clamp(grey + by*(float32(v)-grey))
	}
	for i := 0; i < len(pix); i += 4 {
		pix[i], pix[i+1], pix[i+2] = table[pix[i]], table[pix[i+1]], table[pix[i+2]]
	}
}

func brightness(pix []uint8, by float64) { towards(pix, 0, float32(by)) }

// contrast moves colours away from the mean brightness of the image.
func contrast(pix []uint8, by float64) {
	sum := 0.0
	for i := 0; i < len(pix); i += 4 {
		sum += float64(luma(pix[i : i+3]))
	}
	towards(pix, float32(sum/float64(max(len(pix)/4, 1))), float32(by))
}

// saturation moves the colours of every pixel away from its own brightness.
func saturation(pix []uint8, by float64) {
	factor := float32(by)
	for i := 0; i < len(pix); i += 4 {
		p := pix[i : i+3]
		grey := luma(p)
		for c := range p {
			p[c] = clamp(grey + factor*(float32(p[c])-grey))
		}
	}
}

// hue turns the colours around the circle of hues by a fraction of it. The largest and the smallest colour of a pixel
// keep their values and change places; only the one between them is new.
func hue(pix []uint8, by float64) {
	turn := float32(by) * 6 // in sixths of the circle
	if turn < 0 {
		turn += 6
	}
	for i := 0; i < len(pix); i += 4 {
		p := pix[i : i+3]
		r, g, b := float32(p[0]), float32(p[1]), float32(p[2])
		high, low := max(r, g, b), min(r, g, b)
		if high == low {
			continue
		}
		var at float32 // on the circle: red 0, green 2, blue 4
		switch high {
		case r:
			at = (g - b) / (high - low)
		case g:
			at = 2 + (b-r)/(high-low)
		default:
			at = 4 + (r-g)/(high-low)
		}
		for at += turn; at >= 6; at -= 6 {
		}
		for ; at < 0; at += 6 {
		}
		sixth := int(at)
		part := at - float32(sixth)
		if sixth%2 == 1 {
			part = 1 - part
		}
		between := low + part*(high-low)
		switch sixth {
		case 0:
			r, g, b = high, between, low
		case 1:
			r, g, b = between, high, low
		case 2:
			r, g, b = low, high, between
		case 3:
			r, g, b = low, between, high
		case 4:
			r, g, b = between, low, high
		default:
			r, g, b = high, low, between
		}
		p[0], p[1], p[2] = clamp(r), clamp(g), clamp(b)
	}
}
