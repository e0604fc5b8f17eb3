package exchange

import (
	"net/url"
	"slices"
	"testing"

	"github.com/isocore/isocore/refusal"
)

// FuzzForm's oracle is the round trip: what is accepted, written again by
// net/url, is accepted again and says the same; and what net/url reads of the
// same bytes, once a parameter, is what was understood.
func FuzzForm(f *testing.F) {
	f.Add("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=a.b.c&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Atxn_token&audience=isocore%3Apostgres&scope=pg%3Aread+pg%3Awrite")
	f.Add("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=a&subject_token_type=urn:ietf:params:oauth:token-type:txn_token&audience=x&requested_token_type=urn:ietf:params:oauth:token-type:access_token")
	f.Add("scope=&scope=%00&%61=;")
	f.Fuzz(func(t *testing.T, body string) {
		got, err := parseForm(body)
		if err != nil {
			if r := refusal.Of(err); r != refusal.Malformed && r != refusal.Unlisted {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		values, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("%q is no form: %v", body, err)
		}
		for name, v := range values {
			if len(v) != 1 || !slices.Contains(parameters, name) {
				t.Errorf("%q: %s is %q", body, name, v)
			}
		}
		again, err := parseForm(values.Encode())
		if err != nil {
			t.Fatalf("%q, written again: %v", body, err)
		}
		if again.subject != got.subject || again.audience != got.audience || again.scope != got.scope || !slices.Equal(again.reach, got.reach) {
			t.Errorf("%q: %+v, then %+v", body, got, again)
		}
		if got.subject.Reveal() != values.Get("subject_token") || got.audience != values.Get("audience") || got.scope != values.Get("scope") {
			t.Errorf("%q: %+v", body, got)
		}
	})
}

// TestCodes: every Reason has an answer.
func TestCodes(t *testing.T) {
	for _, r := range refusal.Reasons {
		if c, ok := codes[r]; !ok || c.status < 400 || c.error == "" {
			t.Errorf("%s is %+v", r, c)
		}
	}
}
