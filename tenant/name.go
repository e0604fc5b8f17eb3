package tenant

import (
	"fmt"
	"strings"
)

// A Name is what people call a tenant or a partner: a slug of 2 to 40 bytes,
// [a-z0-9] with inner hyphens. It is unique among its partner's tenants and
// nothing is ever derived from it: namespaces come from the [ID].
type Name string

// ParseName returns s as a Name if it is one.
func ParseName(s string) (Name, error) {
	if len(s) < 2 || len(s) > 40 || s[0] == '-' || s[len(s)-1] == '-' {
		return "", errName(s)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return "", errName(s)
		}
	}
	return Name(s), nil
}

// A Path is a tenant's name within its partner, written partner/name.
type Path struct{ Partner, Name Name }

// ParsePath returns the Path spelled s. Without a slash it is a name under
// the partner home.
func ParsePath(s string, home Name) (Path, error) {
	partner, name, found := strings.Cut(s, "/")
	if !found {
		partner, name = string(home), s
	}
	p, err := ParseName(partner)
	if err != nil {
		return Path{}, err
	}
	n, err := ParseName(name)
	if err != nil {
		return Path{}, err
	}
	return Path{p, n}, nil
}

func (p Path) String() string { return string(p.Partner) + "/" + string(p.Name) }

func errName(s string) error {
	return fmt.Errorf("tenant: %.50q is not a name: 2 to 40 of a-z, 0-9 and inner hyphens", s)
}
