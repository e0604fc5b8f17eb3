package bundle

import (
	"bytes"
	"strings"
	"testing"
)

func TestPolicies(t *testing.T) {
	_, v := keys(t, 1)
	_, w1 := cosign([]byte("a\n\n"), 7, "witness.test/one")
	_, w2 := cosign([]byte("a\n\n"), 8, "witness.test/two")
	log, one, two := "log "+v+"\n", "witness one "+w1+"\n", "witness two "+w2+"\n"
	for text, want := range map[string]string{
		log + "quorum none": log + "quorum none\n",
		"# c\n\n " + log + one + two + "group g all one two\nquorum g\n\n": log + one + two + "group g 2 one two\nquorum g\n",
		log + one + "group g any one\ngroup h 1 g\nquorum h\n":             log + one + "group g 1 one\ngroup h 1 g\nquorum h\n",
	} {
		if p, err := ParsePolicy(text); err != nil || p.String() != want {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "quorum none\n", log, log + log + "quorum none", one + log + "quorum one", log + "quorum", log + "quorum one",
		log + "quorum none\nquorum none", log + "quorum none\n" + one, log + one + one + "quorum one",
		log + one + "witness two " + w1 + "\nquorum two", log + "witness none " + w1 + "\nquorum none",
		log + "witness a/b " + w1 + "\nquorum none", log + "witness one " + v + "\nquorum one", "log " + w1 + "\nquorum none",
		log + one + "group g 2 one\nquorum g", log + one + "group g 0 one\nquorum g", log + one + "group g 01 one\nquorum g",
		log + one + "group g 1 one one\nquorum g", log + one + "group g 1 two\nquorum g", log + one + "group g 1 g\nquorum g",
		log + one + "group g 1 one\ngroup h 1 one\nquorum h", log + "trust everybody\nquorum none", log + "log\nquorum none",
		strings.Replace(log, "+", "-", 1) + "quorum none", strings.Replace(log, "a", "b", 1) + "quorum none",
		strings.Repeat("#\n", maxPolicy), log + "witness " + strings.Repeat("x", 65) + " " + w1 + "\nquorum none",
	} {
		if p, err := ParsePolicy(text); err == nil {
			t.Errorf("%q is %q", text, p)
		}
	}
}

// The log's own key does not count as a witness's.
func TestAnOperatorIsNoWitness(t *testing.T) {
	_, v := keys(t, 1)
	_, _, key, err := parseKey(v, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t)
	if !bytes.Equal(p.key, key) {
		t.Fatal("the key of the log is another")
	}
	for seed := range byte(255) { // the one from which the log's key was made is among them
		_, w := cosign([]byte("a\n\n"), seed, "witness.test/one")
		_, _, witness, err := parseKey(w, 4)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(witness, key) {
			if _, err := ParsePolicy("log " + v + "\nwitness one " + w + "\nquorum one\n"); err == nil {
				t.Error("the operator is its own witness")
			}
			return
		}
	}
	t.Error("no witness has the log's key")
}
