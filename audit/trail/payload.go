package trail

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/isocore/isocore/tenant"
)

// payload is the sealed part of a record: deterministic CBOR (RFC 8949, 4.2.1)
// with the integer keys registered in docs/records.md. A key once used is never
// given another meaning.
type payload struct {
	Log       []byte   `cbor:"1,keyasint"`
	Time      int64    `cbor:"2,keyasint"`
	Subject   string   `cbor:"3,keyasint,omitempty"`
	Issuer    string   `cbor:"4,keyasint,omitempty"`
	Txn       string   `cbor:"5,keyasint,omitempty"`
	Peer      string   `cbor:"6,keyasint,omitempty"`
	Session   string   `cbor:"7,keyasint,omitempty"`
	Broker    string   `cbor:"8,keyasint,omitempty"`
	Operation string   `cbor:"9,keyasint,omitempty"`
	Verdict   string   `cbor:"10,keyasint,omitempty"`
	Reason    string   `cbor:"11,keyasint,omitempty"`
	Detail    string   `cbor:"12,keyasint,omitempty"`
	Actors    []string `cbor:"13,keyasint,omitempty"`
	Resources []string `cbor:"14,keyasint,omitempty"`
	Text      []byte   `cbor:"15,keyasint,omitempty"`
	Digest    []byte   `cbor:"16,keyasint,omitempty"`
	Cut       bool     `cbor:"17,keyasint,omitempty"`
	Result    *result  `cbor:"18,keyasint,omitempty"`

	Parameters [][]byte `cbor:"19,keyasint,omitempty"`
	Digests    [][]byte `cbor:"20,keyasint,omitempty"`
}

// result is the value of key 18.
type result struct {
	Status     string   `cbor:"1,keyasint,omitempty"`
	Code       string   `cbor:"2,keyasint,omitempty"`
	Rows       int64    `cbor:"3,keyasint,omitempty"`
	BytesIn    int64    `cbor:"4,keyasint,omitempty"`
	BytesOut   int64    `cbor:"5,keyasint,omitempty"`
	TokensIn   int64    `cbor:"6,keyasint,omitempty"`
	TokensOut  int64    `cbor:"7,keyasint,omitempty"`
	Micros     int64    `cbor:"8,keyasint,omitempty"`
	Provenance [][]byte `cbor:"9,keyasint,omitempty"`
}

// codec is immutable.
var codec = newCodec()

type coding struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() coding {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   4,
		MaxArrayElements:  MaxProvenance,
		MaxMapPairs:       32,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return coding{enc, dec}
}

func encodePayload(r *Record) ([]byte, error) {
	log := r.Log.UUID()
	p := payload{
		Log: log[:], Time: r.Time.UnixMicro(), Subject: r.Subject, Issuer: r.Issuer, Txn: r.Txn, Peer: r.Peer,
		Session: r.Session, Broker: r.Broker, Operation: r.Operation, Verdict: r.Verdict, Reason: r.Reason,
		Detail: r.Detail, Actors: r.Actors, Resources: r.Resources, Text: r.Text, Cut: r.Cut,
		Parameters: r.Parameters, Digests: r.Digests,
	}
	if r.Digest != [32]byte{} {
		p.Digest = r.Digest[:]
	}
	s := &r.Result
	v := result{
		Status: s.Status, Code: s.Code, Rows: s.Rows, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		TokensIn: s.TokensIn, TokensOut: s.TokensOut, Micros: s.Micros,
	}
	for i := range s.Provenance {
		v.Provenance = append(v.Provenance, s.Provenance[i][:])
	}
	if !v.empty() {
		p.Result = &v
	}
	return codec.enc.Marshal(&p)
}

func (v *result) empty() bool {
	return v.Status == "" && v.Code == "" && v.Rows == 0 && v.BytesIn == 0 && v.BytesOut == 0 &&
		v.TokensIn == 0 && v.TokensOut == 0 && v.Micros == 0 && len(v.Provenance) == 0
}

var errPayload = errors.New("audit: payload is not in its one form")

// decodePayload is the inverse of encodePayload. It refuses unknown keys and
// whatever encodePayload would not have written. Log, Kind, Of and Class of
// the result are for the caller to fill in from the header.
func decodePayload(b []byte) (Record, error) {
	var p payload
	if err := codec.dec.Unmarshal(b, &p); err != nil {
		return Record{}, fmt.Errorf("audit: payload: %w", err)
	}
	again, err := codec.enc.Marshal(&p)
	if err != nil || !bytes.Equal(again, b) || (p.Result != nil && p.Result.empty()) {
		return Record{}, errPayload
	}
	if len(p.Log) != tenant.Size || len(p.Text) > MaxText {
		return Record{}, errPayload
	}
	r := Record{
		Log: tenant.FromUUID([tenant.Size]byte(p.Log)), Time: time.UnixMicro(p.Time).UTC(), Subject: p.Subject,
		Issuer: p.Issuer, Txn: p.Txn, Peer: p.Peer, Session: p.Session, Broker: p.Broker, Operation: p.Operation,
		Verdict: p.Verdict, Reason: p.Reason, Detail: p.Detail, Actors: p.Actors, Resources: p.Resources,
		Text: p.Text, Cut: p.Cut, Parameters: p.Parameters, Digests: p.Digests,
	}
	if err := p.digest(&r); err != nil {
		return Record{}, err
	}
	if p.Result != nil {
		r.Result, err = p.Result.decode()
	}
	return r, err
}

// digest fills r.Digest and holds it against the text, where all of it is there.
func (p *payload) digest(r *Record) error {
	if len(p.Digest) == 0 {
		if len(p.Text) > 0 {
			return errPayload
		}
		return nil
	}
	if len(p.Digest) != len(r.Digest) {
		return errPayload
	}
	r.Digest = [32]byte(p.Digest)
	if n := len(p.Text); r.Digest == [32]byte{} || n > 0 && n < MaxText && sha256.Sum256(p.Text) != r.Digest {
		return errPayload
	}
	return nil
}

func (v *result) decode() (Result, error) {
	r := Result{
		Status: v.Status, Code: v.Code, Rows: v.Rows, BytesIn: v.BytesIn, BytesOut: v.BytesOut,
		TokensIn: v.TokensIn, TokensOut: v.TokensOut, Micros: v.Micros,
	}
	for _, h := range v.Provenance {
		if len(h) != sha256.Size {
			return Result{}, errPayload
		}
		r.Provenance = append(r.Provenance, [32]byte(h))
	}
	return r, nil
}
