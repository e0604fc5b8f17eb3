package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isocore/isocore/internal/jws"
)

// A pointer is a parsed JSON Pointer (RFC 6901) to a claim: member names, from
// the outermost on. It goes through objects only: a place in a list says
// nothing of how many there are.
type pointer []string

// maxPointer bounds how deep a claim is. Claims are not nested deeper.
const maxPointer = 8

// unescape is the order that RFC 6901, 4 asks for: ~01 is ~1 and not a slash.
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func parsePointer(s string) (pointer, error) {
	parts := strings.Split(s, "/")
	if parts[0] != "" || len(parts) < 2 || len(parts)-1 > maxPointer {
		return nil, fmt.Errorf("%.100q is not a JSON Pointer of 1 to %d names, each after a slash", s, maxPointer)
	}
	names := make(pointer, 0, len(parts)-1)
	for _, part := range parts[1:] {
		rest := strings.NewReplacer("~0", "", "~1", "").Replace(part)
		name := unescape.Replace(part)
		if strings.Contains(rest, "~") || !printable(name, maxText) {
			return nil, fmt.Errorf("%.100q: %.100q is not a name: printable, ~0 for ~ and ~1 for /", s, part)
		}
		names = append(names, name)
	}
	return names, nil
}

// in returns the value that p points at in an object that strict JSON was
// found to be.
func (p pointer) in(members map[string]jsontext.Value) (jsontext.Value, error) {
	for i, name := range p {
		v, ok := members[name]
		if !ok {
			return nil, fmt.Errorf("nothing at %.100q", p[:i+1])
		}
		if i == len(p)-1 {
			return v, nil
		}
		if members = nil; jws.DecodeOpen(v, &members) != nil {
			return nil, fmt.Errorf("no object at %.100q", p[:i+1])
		}
	}
	return nil, errors.New("no pointer")
}

// one returns the one text that is in v in this shape.
func (s Shape) one(v jsontext.Value) (string, error) {
	switch s {
	case Scalar:
		return text(v)
	case SingleArray:
		var all []jsontext.Value
		if err := json.Unmarshal(v, &all); err != nil || len(all) != 1 {
			return "", errors.New("not a list of one")
		}
		return text(all[0])
	case SingleKey:
		var all map[string]jsontext.Value
		if err := json.Unmarshal(v, &all); err != nil || len(all) != 1 {
			return "", errors.New("not an object of one member")
		}
		for name := range all {
			return name, nil
		}
	}
	return "", fmt.Errorf("no shape %.40q", s)
}

// text returns the string that v is, and refuses every other kind of JSON.
func text(v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", errors.New("not a text")
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err
}
