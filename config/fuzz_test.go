package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// empty is a disk on which everything is there and nobody else may use it.
type empty struct{}

func (empty) read(string, audience) ([]byte, error) { return []byte("x"), nil }
func (empty) dir(string) error                      { return nil }

// FuzzParse: the oracle is "shown is read": what parses and is shown parses
// again and is equal; what does not parse says where, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add([]byte(least))
	for _, c := range bad {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(strings.Repeat("[", 1000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("/etc/isocore/isocore.yaml", data, empty{})
		if err != nil {
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) == 0 || problems[0].Line < 1 || problems[0].What == "" {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		again, err := parse("/etc/isocore/isocore.yaml", c.Show(), empty{})
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%q was shown as\n%s\nwhich says %v", data, c.Show(), err)
		}
	})
}
