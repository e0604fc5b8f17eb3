package pgsql

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// A mutator makes new texts of the corpus by putting tokens of one statement
// into another, with odd space between them: much more of it is SQL than of
// anything made byte by byte.
type mutator struct {
	texts [][]string // tokens of the texts that the grammar accepts
	rand  *rand.Rand
}

func newMutator(t testing.TB, seed uint64) *mutator {
	m := &mutator{rand: rand.New(rand.NewPCG(seed, 0))}
	for _, l := range lines(t) {
		if !l.grammar {
			continue
		}
		var tokens []string
		s := scanner{text: l.text}
		for {
			tok, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if tok.lexeme == end {
				break
			}
			tokens = append(tokens, l.text[tok.start:tok.end])
		}
		m.texts = append(m.texts, tokens)
	}
	return m
}

func (m *mutator) pick() []string { return m.texts[m.rand.IntN(len(m.texts))] }

// piece returns up to most tokens of some text.
func (m *mutator) piece(most int) []string {
	p := m.pick()
	if len(p) == 0 {
		return nil
	}
	from := m.rand.IntN(len(p))
	return p[from:min(len(p), from+1+m.rand.IntN(most))]
}

func (m *mutator) text() string {
	tokens := append([]string(nil), m.pick()...)
	for range m.rand.IntN(4) {
		at := m.rand.IntN(len(tokens) + 1)
		var rest []string
		switch m.rand.IntN(5) {
		case 0: // leave out
			rest = append(rest, tokens[min(len(tokens), at+1):]...)
			tokens = append(tokens[:at], rest...)
		case 1: // put in parentheses
			rest = append(append(rest, m.pick()...), ")")
			rest = append(rest, tokens[at:]...)
			tokens = append(append(tokens[:at], "("), rest...)
		case 2: // another statement
			tokens = append(append(tokens, ";"), m.pick()...)
		default: // put in
			rest = append(rest, m.piece(4)...)
			rest = append(rest, tokens[at:]...)
			tokens = append(tokens[:at], rest...)
		}
	}
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(m.space())
		b.WriteString(t)
	}
	return b.String()
}

var odd = []string{"\n", "/**/", "/*;*/", "--;\n", "/*'*/", "\r", "\f", "", "  ", "/*/**/*/", "-- $$\n"}

func (m *mutator) space() string {
	if m.rand.IntN(8) > 0 {
		return " "
	}
	return odd[m.rand.IntN(len(odd))]
}

// Oracle: as FuzzStatements.
func FuzzMutants(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := newMutator(t, seed)
		for range 50 {
			text := m.text()
			if want, err := grammar(text); err == nil {
				agree(t, text, want)
			}
		}
	})
}
