package published

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isocore/isocore/identity"
)

// A Change is what an issuer's set is about to become. A key is the same only
// under the same name.
type Change struct {
	Issuer string
	Before *identity.KeySet // nil for the first since this node started
	After  *identity.KeySet
	Kept   int // keys in both
	Added  int
	Gone   int
}

// Abrupt reports whether more than half of the keys changed at once, which
// issuers that rotate one key after the other do not do: perhaps it is not the
// issuer who publishes. The first set is not abrupt.
func (c Change) Abrupt() bool {
	return c.Before != nil && (c.Gone > c.Kept || c.Added > c.Kept)
}

func compare(issuer string, before, after *identity.KeySet) (Change, error) {
	c := Change{Issuer: issuer, Before: before, After: after}
	olds, err := keys(before)
	if err != nil {
		return Change{}, err
	}
	news, err := keys(after)
	if err != nil {
		return Change{}, err
	}
	for k := range news {
		if _, ok := olds[k]; ok {
			c.Kept++
		}
	}
	c.Added, c.Gone = len(news)-c.Kept, len(olds)-c.Kept
	return c, nil
}

// keys returns the keys of set, each as it is published.
func keys(set *identity.KeySet) (map[string]struct{}, error) {
	if set == nil {
		return nil, nil
	}
	doc, err := set.JWKS()
	if err != nil {
		return nil, err
	}
	var d struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("published: %w", err)
	}
	all := make(map[string]struct{}, len(d.Keys))
	for _, k := range d.Keys {
		all[string(k)] = struct{}{}
	}
	return all, nil
}
