// Package bundle carries one log out of the house: it writes the records of a
// window with their proof into one file, and verifies such a file offline.
//
// Whoever verifies needs this package and a policy (whose signature counts);
// no server, no network, no other tenant's data.
package bundle

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// MaxRecords is how many records one bundle holds. A longer log is exported in
// several, each with the head of the one before it as Previous.
const MaxRecords = 1 << 20

// The members of a bundle, in the order in which they stand in it. One of
// keysOpen and keysSealed is there.
const (
	guideName    = "VERIFY.md"
	headName     = "checkpoint"
	keysSealed   = "keys.age"
	keysOpen     = "keys.json"
	manifestName = "manifest.json"
	policyName   = "policy.txt"
	proofName    = "proof.bin"
	recordsName  = "records.bin"
)

//go:embed VERIFY.md
var guide []byte

// A Manifest says what a bundle claims to be. Verify holds every field against
// the records but Created, which is the exporter's word.
type Manifest struct {
	Created  time.Time
	Log      string // the origin of the log
	Tenant   tenant.ID
	Size     uint64     // of the log, at the checkpoint
	From, To uint64     // the records in the bundle: From up to but not including To
	Previous trail.Head // what the bundle proves to be a beginning of this log; Size 0 is none
	Since    time.Time  // the window, if it is one of time: all records from Since up to but not including Until
	Until    time.Time
}

// manifestJSON is Manifest in RFC 8785 form: fields in order of their names.
type manifestJSON struct {
	Created  string        `json:"created"`
	From     uint64        `json:"from"`
	Log      string        `json:"log"`
	Previous *previousJSON `json:"previous,omitempty"`
	Size     uint64        `json:"size"`
	Tenant   string        `json:"tenant"`
	To       uint64        `json:"to"`
	Version  int           `json:"version"`
	Window   *windowJSON   `json:"window,omitempty"`
}

type previousJSON struct {
	Root string `json:"root"`
	Size uint64 `json:"size"`
}

type windowJSON struct {
	Since int64 `json:"since"`
	Until int64 `json:"until"`
}

const version = 1

func (m *Manifest) encode() ([]byte, error) {
	j := manifestJSON{
		Created: m.Created.UTC().Format(time.RFC3339), From: m.From, Log: m.Log, Size: m.Size,
		Tenant: m.Tenant.String(), To: m.To, Version: version,
	}
	if m.Previous.Size > 0 {
		j.Previous = &previousJSON{base64.StdEncoding.EncodeToString(m.Previous.Root[:]), m.Previous.Size}
	}
	if m.timed() {
		j.Window = &windowJSON{m.Since.UnixMilli(), m.Until.UnixMilli()}
	}
	return canonical(j)
}

// timed reports whether the window is one of time.
func (m *Manifest) timed() bool { return !m.Until.IsZero() }

// canonical returns v as RFC 8785 has it, for values whose strings are ASCII
// and whose fields are in order.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func parseManifest(b []byte) (*Manifest, error) {
	var j manifestJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", manifestName, err)
	}
	if j.Version != version {
		return nil, fmt.Errorf("bundle: version %d, known is %d", j.Version, version)
	}
	created, err := time.Parse(time.RFC3339, j.Created)
	if err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", manifestName, err)
	}
	m := &Manifest{Created: created.UTC(), Log: j.Log, Size: j.Size, From: j.From, To: j.To}
	if j.Tenant != (tenant.ID{}).String() {
		if m.Tenant, err = tenant.Parse(j.Tenant); err != nil {
			return nil, fmt.Errorf("bundle: %s: %w", manifestName, err)
		}
	}
	if j.Previous != nil {
		root, err := base64.StdEncoding.DecodeString(j.Previous.Root)
		if err != nil || len(root) != 32 {
			return nil, fmt.Errorf("bundle: %s: the previous root is none", manifestName)
		}
		m.Previous = trail.Head{Origin: j.Log, Size: j.Previous.Size, Root: [32]byte(root)}
	}
	if j.Window != nil {
		m.Since, m.Until = time.UnixMilli(j.Window.Since).UTC(), time.UnixMilli(j.Window.Until).UTC()
	}
	again, err := m.encode()
	if err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("bundle: %s is not in its one form", manifestName)
	}
	return m, m.check()
}

func (m *Manifest) check() error {
	switch {
	case m.From > m.To || m.To > m.Size || m.To-m.From > MaxRecords || m.Size >= 1<<53:
		return fmt.Errorf("bundle: records %d up to %d of %d", m.From, m.To, m.Size)
	case m.Previous.Size > m.Size:
		return fmt.Errorf("bundle: the previous head, of %d records, is beyond the %d of this one", m.Previous.Size, m.Size)
	case m.timed() && m.Until.Before(m.Since):
		return errors.New("bundle: the window ends before it begins")
	default:
		return nil
	}
}

// edges returns the range of leaves that a bundle shows: its records and,
// where there are any, the one before and the one after them, of which only
// the header is there.
func (m *Manifest) edges() (begin, end uint64) {
	begin, end = m.From, m.To
	if begin > 0 {
		begin--
	}
	if end < m.Size {
		end++
	}
	return begin, end
}

// keysJSON is keys.json: the key of each record, in order.
type keysJSON struct {
	Keys    [][]byte `json:"keys"`
	Version int      `json:"version"`
}

func parseKeys(b []byte, n uint64) ([][]byte, error) {
	var j keysJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("bundle: keys: %w", err)
	}
	again, err := canonical(j)
	if err != nil || !bytes.Equal(again, b) || j.Version != version {
		return nil, errors.New("bundle: the keys are not in their one form")
	}
	if uint64(len(j.Keys)) != n {
		return nil, fmt.Errorf("bundle: %d keys for %d records", len(j.Keys), n)
	}
	for i, k := range j.Keys {
		if len(k) != 32 {
			return nil, fmt.Errorf("bundle: key %d has %d bytes", i, len(k))
		}
	}
	return j.Keys, nil
}
