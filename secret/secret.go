// Package secret holds text that cannot be printed.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Hidden is what every verb, encoder and logger prints in place of a secret.
const Hidden = "[hidden]"

// Text is a token, a password or a key. Only [Text.Reveal] shows it, and every
// call of that is one place to look at. The zero Text is empty.
type Text struct{ s string }

// New returns s as a secret.
func New(s string) Text { return Text{s} }

// Reveal returns the secret itself.
func (t Text) Reveal() string { return t.s }

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.s == "" }

// Len returns the length of the secret in bytes.
func (t Text) Len() int { return len(t.s) }

// Equal reports whether t and u are the same, in a time that depends on
// their lengths alone.
func (t Text) Equal(u Text) bool { return subtle.ConstantTimeCompare([]byte(t.s), []byte(u.s)) == 1 }

func (t Text) String() string { return Hidden }

// Format implements [fmt.Formatter], so that no verb sees the field.
func (t Text) Format(f fmt.State, _ rune) { fmt.Fprint(f, Hidden) }

// LogValue implements [slog.LogValuer].
func (t Text) LogValue() slog.Value { return slog.StringValue(Hidden) }

// MarshalText implements [encoding.TextMarshaler], so that no encoder sees it.
func (t Text) MarshalText() ([]byte, error) { return []byte(Hidden), nil }
