package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/refusal"
)

// reportHead is the first line of a signed report of prove. A checkpoint, which
// the same key signs, begins with its log's origin: neither passes for the
// other.
const reportHead = "isocore prove report v1\n"

// signReport signs a report of prove, JSON, as a note (c2sp.org/signed-note),
// and records which.
func (a *API) signReport(r *request) (any, error) {
	var b bytes.Buffer
	if _, err := io.Copy(&b, r.Body); err != nil {
		return nil, refusal.New(refusal.TooLarge, "admin: report: %w", err)
	}
	var text bytes.Buffer
	text.WriteString(reportHead)
	if err := json.Indent(&text, bytes.TrimSpace(b.Bytes()), "", "  "); err != nil {
		return nil, refusal.New(refusal.Malformed, "admin: report: %w", err)
	}
	text.WriteByte('\n')
	signed, err := note.Sign(&note.Note{Text: text.String()}, a.Signer)
	if err != nil {
		return nil, refusal.New(refusal.Malformed, "admin: report: %w", err)
	}
	sum := sha256.Sum256(signed)
	c := change{class: audit.ClassKey, operation: "prove report", detail: "signed a report with SHA-256 " + hex.EncodeToString(sum[:])}
	if err := a.record(r.Context(), r, c); err != nil {
		return nil, err
	}
	return stream(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := w.Write(signed)
		return err
	}), nil
}

// OpenReport returns the JSON of a signed report of prove, whose key must be
// that of the policy's log.
func OpenReport(signed []byte, p *bundle.Policy) ([]byte, error) {
	var known []note.Verifier
	for line := range strings.Lines(p.String()) {
		key, ok := strings.CutPrefix(strings.TrimSpace(line), "log ")
		if !ok {
			continue
		}
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("admin: policy: %w", err)
		}
		known = append(known, v)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return nil, fmt.Errorf("admin: report: %w", err)
	}
	for _, sig := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return nil, fmt.Errorf("admin: report: signature: %w", err)
		}
	}
	text, ok := strings.CutPrefix(n.Text, reportHead)
	if !ok || !json.Valid([]byte(text)) {
		return nil, errors.New("admin: it is signed, and not as a report")
	}
	return []byte(text), nil
}
