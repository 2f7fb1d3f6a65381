package text

import "github.com/dartsc/dartsc/internal/philox"

// Grammar is the name of the generated corpus, in the place of a folder.
const Grammar = "grammar"

const (
	trainSentences = 6000
	otherSentences = 600

	// Streams of the seed, one a text.
	trainStream = 0x5445_0101
	validStream = 0x5445_0102
	testStream  = 0x5445_0103
)

// subject is what some sentences in a row are about.
type subject struct {
	nouns      []string
	verbs      []string // with an object
	restful    []string // without one
	adjectives []string
}

var subjects = []subject{
	{[]string{"cow", "horse", "farmer", "hen", "goat", "field"}, []string{"feed", "lead", "follow", "watch"}, []string{"graze", "rest"}, []string{"brown", "hungry", "lazy"}},
	{[]string{"ship", "sailor", "wave", "harbour", "captain", "gull"}, []string{"cross", "leave", "reach", "steer"}, []string{"drift", "sink"}, []string{"salty", "distant", "stormy"}},
	{[]string{"singer", "drummer", "song", "hall", "flute", "crowd"}, []string{"hear", "praise", "record", "join"}, []string{"dance", "cheer"}, []string{"loud", "famous", "gentle"}},
	{[]string{"cook", "oven", "cake", "spoon", "guest", "kitchen"}, []string{"taste", "serve", "heat", "burn"}, []string{"cool", "smell"}, []string{"sweet", "fresh", "bitter"}},
	{[]string{"star", "planet", "comet", "lens", "astronomer", "moon"}, []string{"orbit", "observe", "light", "hide"}, []string{"shine", "rise"}, []string{"faint", "cold", "remote"}},
	{[]string{"judge", "lawyer", "witness", "court", "letter", "thief"}, []string{"accuse", "question", "believe", "sign"}, []string{"wait", "lie"}, []string{"honest", "secret", "strict"}},
}

// What any sentence may use; number 0 is one, 1 is many.
var (
	determiners  = [2][]string{{"the", "a", "this", "every"}, {"the", "some", "these", "many"}}
	prepositions = []string{"near", "behind", "without"}
	adverbs      = []string{"often", "never", "slowly"}
	joints       = []string{"and", "but"}
)

// generate writes a corpus whose words depend on each other as those of a language do, near and far: verbs agree with a
// subject that a clause may stand before, clauses are closed by what opened them, and all nouns and verbs of a sentence
// and mostly of the next ones belong together. A model that knows only how often words occur is lost in it.
func generate(seed uint64) *Corpus {
	words := numbering{}
	return &Corpus{
		Name:  Grammar,
		Train: write(words, seed, trainStream, trainSentences),
		Valid: write(words, seed, validStream, otherSentences),
		Test:  write(words, seed, testStream, otherSentences), Vocabulary: words.list(),
	}
}

// writer writes sentences; every choice is the next number of its stream.
type writer struct {
	random philox.Stream
	choice uint64
	about  subject
	words  numbering
	text   []int32
}

func write(words numbering, seed, stream uint64, sentences int) []int32 {
	w := &writer{random: philox.New(seed, 0, stream), words: words}
	for i := range sentences {
		if i == 0 || w.chance(0.15) {
			w.about = subjects[w.below(len(subjects))]
		}
		w.sentence()
	}
	return w.text
}

func (w *writer) below(n int) int {
	w.choice++
	return w.random.Intn(w.choice-1, n)
}

func (w *writer) chance(p float64) bool {
	w.choice++
	return float64(w.random.Float32(w.choice-1)) < p
}

func (w *writer) say(word string) { w.text = append(w.text, w.words.number(word)) }

// one says one of the words, the first ones more often.
func (w *writer) one(of []string) { w.say(of[min(w.below(len(of)), w.below(len(of)))]) }

func (w *writer) sentence() {
	number := w.below(2)
	w.nounPhrase(number, 0)
	w.verbPhrase(number, 0)
	if w.chance(0.2) {
		w.say(",")
		w.one(joints)
		w.verbPhrase(number, 0)
	}
	w.say(EndOfSentence)
}

// nounPhrase is "the brown cow , which the farmers feed ,": depth counts the clauses that it is in.
func (w *writer) nounPhrase(number, depth int) {
	w.one(determiners[number])
	if w.chance(0.35) {
		w.one(w.about.adjectives)
	}
	noun := w.about.nouns[min(w.below(len(w.about.nouns)), w.below(len(w.about.nouns)))]
	w.say(inflected(noun, number == 1))
	switch {
	case depth < 2 && w.chance(0.25):
		w.say(",")
		w.say("which")
		if other := w.below(2); w.chance(0.5) {
			w.nounPhrase(other, depth+1)
			w.verb(w.about.verbs, other)
		} else {
			w.verbPhrase(number, depth+1)
		}
		w.say(",")
	case w.chance(0.15):
		w.one(prepositions)
		w.nounPhrase(w.below(2), 2)
	}
}

func (w *writer) verbPhrase(number, depth int) {
	if w.chance(0.2) {
		w.one(adverbs)
	}
	if w.chance(0.3) {
		w.verb(w.about.restful, number)
		return
	}
	w.verb(w.about.verbs, number)
	w.nounPhrase(w.below(2), depth+1)
}

// verb says a verb of the third person: "feeds" of one, "feed" of many.
func (w *writer) verb(of []string, number int) {
	verb := of[min(w.below(len(of)), w.below(len(of)))]
	w.say(inflected(verb, number == 0))
}

// inflected is English enough: nouns of many and verbs of one end in s.
func inflected(word string, s bool) string {
	if !s {
		return word
	}
	switch word[len(word)-1] {
	case 's', 'h', 'x':
		return word + "es"
	}
	return word + "s"
}
