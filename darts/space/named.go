package space

// architecture is a published genotype under its name.
type architecture[G any] struct {
	name     string
	genotype G
}

// The figures are those of the papers and of the original's command line, where DARTS is another name for DARTS_V2.
// NASNet-A: Zoph et al. 2018. AmoebaNet-A: Real et al. 2019. DARTS_V1 (first order), DARTS_V2 (second): Liu et al. 2019.
var architectures = []architecture[Genotype]{
	{"NASNet", Genotype{
		Normal: []Edge{
			{SepConv5x5, 1}, {SepConv3x3, 0},
			{SepConv5x5, 0}, {SepConv3x3, 0},
			{AvgPool3x3, 1}, {SkipConnect, 0},
			{AvgPool3x3, 0}, {AvgPool3x3, 0},
			{SepConv3x3, 1}, {SkipConnect, 1},
		},
		NormalConcat: []int{2, 3, 4, 5, 6},
		Reduce: []Edge{
			{SepConv5x5, 1}, {SepConv7x7, 0},
			{MaxPool3x3, 1}, {SepConv7x7, 0},
			{AvgPool3x3, 1}, {SepConv5x5, 0},
			{SkipConnect, 3}, {AvgPool3x3, 2},
			{SepConv3x3, 2}, {MaxPool3x3, 1},
		},
		ReduceConcat: []int{4, 5, 6},
	}},
	{"AmoebaNet", Genotype{
		Normal: []Edge{
			{AvgPool3x3, 0}, {MaxPool3x3, 1},
			{SepConv3x3, 0}, {SepConv5x5, 2},
			{SepConv3x3, 0}, {AvgPool3x3, 3},
			{SepConv3x3, 1}, {SkipConnect, 1},
			{SkipConnect, 0}, {AvgPool3x3, 1},
		},
		NormalConcat: []int{4, 5, 6},
		Reduce: []Edge{
			{AvgPool3x3, 0}, {SepConv3x3, 1},
			{MaxPool3x3, 0}, {SepConv7x7, 2},
			{SepConv7x7, 0}, {AvgPool3x3, 1},
			{MaxPool3x3, 0}, {MaxPool3x3, 1},
			{Conv7x1x1x7, 0}, {SepConv3x3, 5},
		},
		ReduceConcat: []int{3, 4, 6},
	}},
	{"DARTS_V1", Genotype{
		Normal: []Edge{
			{SepConv3x3, 1}, {SepConv3x3, 0},
			{SkipConnect, 0}, {SepConv3x3, 1},
			{SkipConnect, 0}, {SepConv3x3, 1},
			{SepConv3x3, 0}, {SkipConnect, 2},
		},
		NormalConcat: []int{2, 3, 4, 5},
		Reduce: []Edge{
			{MaxPool3x3, 0}, {MaxPool3x3, 1},
			{SkipConnect, 2}, {MaxPool3x3, 0},
			{MaxPool3x3, 0}, {SkipConnect, 2},
			{SkipConnect, 2}, {AvgPool3x3, 0},
		},
		ReduceConcat: []int{2, 3, 4, 5},
	}},
	{"DARTS_V2", dartsV2},
	{"DARTS", dartsV2},
}

var dartsV2 = Genotype{
	Normal: []Edge{
		{SepConv3x3, 0}, {SepConv3x3, 1},
		{SepConv3x3, 0}, {SepConv3x3, 1},
		{SepConv3x3, 1}, {SkipConnect, 0},
		{SkipConnect, 0}, {DilConv3x3, 2},
	},
	NormalConcat: []int{2, 3, 4, 5},
	Reduce: []Edge{
		{MaxPool3x3, 0}, {MaxPool3x3, 1},
		{SkipConnect, 2}, {MaxPool3x3, 1},
		{MaxPool3x3, 0}, {SkipConnect, 2},
		{SkipConnect, 2}, {MaxPool3x3, 1},
	},
	ReduceConcat: []int{2, 3, 4, 5},
}

// Names returns the names that Named knows.
func Names() []string { return convolutional.names() }

// Named returns a published architecture; the genotype is the caller's to change.
func Named(name string) (g Genotype, ok bool) { return convolutional.named(name) }
