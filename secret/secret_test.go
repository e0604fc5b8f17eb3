package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNoVerbPrintsIt(t *testing.T) {
	const s = "hunter2"
	text := New(s)
	in := struct{ T Text }{text}
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		out = append(out, fmt.Sprintf(verb, text), fmt.Sprintf(verb, in), fmt.Sprintf(verb, &in))
	}
	j, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "t", text, "in", in)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "t", text, "in", in)
	out = append(out, string(j), log.String())
	for _, o := range out {
		if strings.Contains(o, s) || strings.Contains(o, fmt.Sprintf("%x", s)) {
			t.Errorf("printed: %s", o)
		}
	}
	if text.Reveal() != s || text.Len() != len(s) || text.IsZero() || !text.Equal(New(s)) || text.Equal(New("hunter3")) {
		t.Error("it is not the secret it was made of")
	}
}
