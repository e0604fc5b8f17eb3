// Package h1 is HTTP/1.1 as it has to be written: framing that refuses what
// two readers could read in two ways.
//
// [Guard] stands between a connection and a net/http server, and [Reader] reads
// the answers of an application. Both know one spelling of everything that says
// where a message ends: RFC 9112 without what it asks recipients to forgive.
package h1

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isocore/isocore/refusal"
)

// Limits bound what a [Guard] lets through. Every field is required: a zero
// permits nothing.
type Limits struct {
	Head   int           // bytes from the request line to the empty line
	Time   time.Duration // from its first byte to its last
	Fields int           // header fields of one request
	Body   int64         // bytes of one body
	Chunk  int64         // bytes of one chunk of it
}

// A fault is what is wrong with a message.
type fault uint8

const (
	none fault = iota
	badStart
	badMethod
	badTarget
	badVersion
	badLineEnd
	badName
	badValue
	badFold
	badHost
	noHost
	twoHosts
	badLength
	twoLengths
	badCoding
	twoCodings
	lengthAndCoding
	badAlias
	badExpect
	badUpgrade
	badTrailer
	badChunk
	badChunkEnd
	badStatus
	headTooLarge
	tooManyFields
	bodyTooLarge
	chunkTooLarge
)

// faults say which refusal a fault is, and what the operator reads.
var faults = [...]struct {
	reason refusal.Reason
	what   string
}{
	none:            {refusal.Internal, "nothing is wrong"},
	badStart:        {refusal.Malformed, "bytes that belong to no request"},
	badMethod:       {refusal.Malformed, "a method that is not 1 to 20 upper-case letters"},
	badTarget:       {refusal.Malformed, "a target that is not in origin form"},
	badVersion:      {refusal.Malformed, "a version that is not HTTP/1.1"},
	badLineEnd:      {refusal.Malformed, "a line that does not end in CRLF"},
	badName:         {refusal.Malformed, "a field name that is not a token"},
	badValue:        {refusal.Malformed, "a field value with a control byte"},
	badFold:         {refusal.Malformed, "a folded line"},
	badHost:         {refusal.Malformed, "a Host that is not a name and a port"},
	noHost:          {refusal.Malformed, "no Host"},
	twoHosts:        {refusal.Malformed, "a second Host"},
	badLength:       {refusal.Malformed, "a Content-Length that is not one number"},
	twoLengths:      {refusal.Malformed, "a second Content-Length"},
	badCoding:       {refusal.Malformed, "a Transfer-Encoding that is not chunked"},
	twoCodings:      {refusal.Malformed, "a second Transfer-Encoding"},
	lengthAndCoding: {refusal.Malformed, "a Content-Length beside a Transfer-Encoding"},
	badAlias:        {refusal.Malformed, "another spelling of a field that frames"},
	badExpect:       {refusal.Malformed, "an Expect that is not 100-continue"},
	badUpgrade:      {refusal.Malformed, "an Upgrade beside a body"},
	badTrailer:      {refusal.Malformed, "trailers"},
	badChunk:        {refusal.Malformed, "a chunk size that is not 1 to 8 hexadecimal digits"},
	badChunkEnd:     {refusal.Malformed, "a chunk that does not end in CRLF"},
	badStatus:       {refusal.Malformed, "a status line that is not one"},
	headTooLarge:    {refusal.TooLarge, "the head is over its limit"},
	tooManyFields:   {refusal.TooLarge, "more header fields than the limit"},
	bodyTooLarge:    {refusal.TooLarge, "the body is over its limit"},
	chunkTooLarge:   {refusal.TooLarge, "a chunk is over its limit"},
}

var errUnlisted = errors.New("h1: a refusal that is none of ours")

// Error implements [error], for faults of an answer, which no client hears of.
func (f fault) Error() string { return "h1: " + faults[f].what }

// refusal returns f as what a client hears.
func (f fault) refusal() error { return refusal.New(faults[f].reason, "%w", f) }

// refusedMethod is the method of the requests that a [Guard] makes. No client
// can send it past one.
const refusedMethod = "refused"

// request returns the request that stands for one refused for f.
func (f fault) request() string {
	return fmt.Sprintf("%s /%s/%d HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n", refusedMethod, faults[f].reason, f)
}

// Refused returns why the guard of its connection refused what r stands for:
// Malformed or TooLarge. It reports false of every request that a client sent.
func Refused(r *http.Request) (error, bool) { //nolint:revive // the error is the answer, not a failure
	if r.Method != refusedMethod || r.ProtoMajor != 1 {
		return nil, false
	}
	_, number, _ := strings.Cut(strings.TrimPrefix(r.RequestURI, "/"), "/")
	f, err := strconv.ParseUint(number, 10, 8)
	if err != nil || f == 0 || int(f) >= len(faults) {
		return refusal.New(refusal.Malformed, "%w", errUnlisted), true
	}
	return fault(f).refusal(), true
}
