// Package preset knows what the tokens of well-known identity providers look
// like, and where their keys are.
//
// A preset is where a registration begins, never what is believed: the
// operator names the audience and binds each tenant.
package preset

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/isocore/isocore/identity"
)

// A Preset is what the providers of one maker have in common.
type Preset struct {
	Name string

	// Issuer is the issuer URL, with {placeholders} for what is the operator's
	// own. Empty: every operator has another one.
	Issuer string

	// JWKSURI is where the keys are published, with the placeholders of Issuer.
	// Empty: the operator says it.
	JWKSURI string

	Types      []string // what typ may be; "" stands for none at all
	Algorithms []string
	TenantAt   string // JSON Pointer; empty: the operator says it
	Shape      identity.Shape
	SubjectAt  string // JSON Pointer

	Never []string // values of the tenant claim that are nobody's tenant
	Known Known
	Notes []string // what to mind, a sentence each
}

// A Known is how well something is known.
type Known string

// What was looked up is still to be checked against a token of one's own:
// isocore issuer test does.
const (
	Documented Known = "the maker's documentation"
	Source     Known = "the maker's source code"
	Heard      Known = "general knowledge: check it before relying on it"
	Ours       Known = "nothing is assumed"
)

// Lookup returns the preset with this name.
func Lookup(name string) (Preset, bool) {
	i := slices.IndexFunc(presets, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return presets[i].clone(), true
}

// Names returns the names of all presets, in their order.
func Names() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

func (p Preset) clone() Preset {
	p.Types, p.Algorithms = slices.Clone(p.Types), slices.Clone(p.Algorithms)
	p.Never, p.Notes = slices.Clone(p.Never), slices.Clone(p.Notes)
	return p
}

// Resolve returns where the provider with this issuer URL publishes its keys,
// or "" if that is not known. An issuer that the preset's do not look like is
// refused: a slash too many or too few is another issuer.
func (p Preset) Resolve(issuer string) (jwksURI string, err error) {
	if p.Issuer == "" {
		return "", nil
	}
	values := match(p.Issuer, issuer)
	if values == nil {
		return "", fmt.Errorf("preset: an issuer of %s looks like %s, not %.100q", p.Name, p.Issuer, issuer)
	}
	return expand(p.JWKSURI, values), nil
}

// placeholder is one in a template, value what may stand in its place: never a
// slash, so that none reaches into the next part.
var (
	placeholder = regexp.MustCompile(`\{[a-z_]+\}`)
	value       = `([A-Za-z0-9._~:-]{1,128})`
)

// match returns what stands in text for each placeholder of template, and nil
// if template is not what text was made of.
func match(template, text string) map[string]string {
	var pattern strings.Builder
	names := placeholder.FindAllString(template, -1)
	for i, literal := range placeholder.Split(template, -1) {
		pattern.WriteString(regexp.QuoteMeta(literal))
		if i < len(names) {
			pattern.WriteString(value)
		}
	}
	found := regexp.MustCompile(`\A` + pattern.String() + `\z`).FindStringSubmatch(text)
	if found == nil {
		return nil
	}
	values := make(map[string]string)
	for i, name := range names {
		values[name] = found[i+1]
	}
	return values
}

// expand puts values in their places.
func expand(template string, values map[string]string) string {
	return placeholder.ReplaceAllStringFunc(template, func(name string) string { return values[name] })
}
