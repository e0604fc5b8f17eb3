package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"filippo.io/age"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/audit/view"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// log returns the log that a name stands for: a tenant's, or the operator's
// if the name is empty. A tenant that is gone has no name: its log has its id.
func (a *API) log(r *request, name string) (tenant.ID, error) {
	if name == "" {
		return tenant.ID{}, nil
	}
	if id, err := tenant.Parse(name); err == nil {
		if size, _ := a.Log.Head(id); size == 0 {
			return tenant.ID{}, refusal.New(refusal.NotFound, "admin: there is no log of %s", id)
		}
		return id, nil
	}
	path, err := parsePath(name)
	if err != nil {
		return tenant.ID{}, err
	}
	t, err := a.Registry.Tenant(r.Context(), path)
	return t.ID, err
}

// A part is the part of a log that is asked for.
type part struct {
	log         tenant.ID
	from, until uint64 // until counts unless follow
	follow      bool
}

// part reads what the URL of r asks: after or last, and follow.
func (a *API) part(r *request) (part, error) {
	q, err := r.query("tenant", "after", "last", "follow")
	if err != nil {
		return part{}, err
	}
	p := part{}
	if p.log, err = a.log(r, q.Get("tenant")); err != nil {
		return part{}, err
	}
	number := func(name string) (n uint64, given bool) {
		if !q.Has(name) || err != nil {
			return 0, false
		}
		n, err = strconv.ParseUint(q.Get(name), 10, 53)
		return n, true
	}
	p.until, _ = a.Log.Head(p.log) // before the record of this
	p.from, _ = number("after")
	if last, given := number("last"); given {
		p.from = max(p.from, p.until-min(p.until, last))
	}
	if q.Has("follow") && err == nil {
		p.follow, err = strconv.ParseBool(q.Get("follow"))
	}
	if err != nil {
		return part{}, refusal.New(refusal.Malformed, "admin: %w", err)
	}
	return p, nil
}

// errEnough ends a walk through a log.
var errEnough = errors.New("admin: enough")

// records streams a log as JSON lines: from the record number after on, or the
// last so many, and with follow=true as they come. Who reads a tenant's log is
// in that log.
func (a *API) records(r *request) (any, error) {
	p, err := a.part(r)
	if err != nil {
		return nil, err
	}
	if err := a.record(r.Context(), r, change{class: audit.ClassTenant, operation: "audit read", tenant: p.log}); err != nil {
		return nil, err
	}
	tail := a.Log.Tail
	if p.follow {
		tail = a.Log.Follow
	}
	return stream(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		rc := http.NewResponseController(w)
		err := tail(r.Context(), p.log, p.from, func(o audit.Opened) error {
			if !p.follow && o.Header.Seq >= p.until {
				return errEnough
			}
			if err := out.Encode(view.Of(o)); err != nil {
				return err
			}
			return rc.Flush()
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	}), nil
}

// An ExportRequest is what POST /v1/audit/exports takes.
type ExportRequest struct {
	Tenant   string     `json:"tenant"`          // partner/name or an id; empty is the operator's log
	Since    *time.Time `json:"since,omitempty"` // records from then on
	Until    *time.Time `json:"until,omitempty"` // and before then
	KeyFor   string     `json:"key_for,omitempty"`
	Previous string     `json:"previous,omitempty"` // the head of the export before, as trail.Head prints it
}

// export writes one log, or a window of it, as a bundle. The records show who
// took it, and it holds that record.
func (a *API) export(r *request) (any, error) {
	var q ExportRequest
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	x, err := a.exportOf(r, &q)
	if err != nil {
		return nil, err
	}
	if err := a.record(r.Context(), r, change{class: audit.ClassTenant, operation: "audit export", tenant: x.Log}); err != nil {
		return nil, err
	}
	// Into a file first: a failure half way must not look like a bundle.
	f, err := os.CreateTemp("", "isocore-export-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) //nolint:errcheck // it lives as long as it is open
	if _, err := bundle.Write(r.Context(), f, a.Log, x); err != nil {
		f.Close() //nolint:errcheck // it is gone
		return nil, err
	}
	return stream(func(w http.ResponseWriter) error {
		defer f.Close() //nolint:errcheck // it is gone
		w.Header().Set("Content-Type", "application/zip")
		http.ServeContent(w, r.Request, "", time.Time{}, f)
		return nil
	}), nil
}

// exportOf returns what q asks for.
func (a *API) exportOf(r *request, q *ExportRequest) (bundle.Export, error) {
	log, err := a.log(r, q.Tenant)
	if err != nil {
		return bundle.Export{}, err
	}
	x := bundle.Export{Log: log, Policy: a.Policy, Created: a.Now().UTC()}
	if q.Since != nil {
		x.Window.Since = *q.Since
	}
	if q.Until != nil {
		x.Window.Until = *q.Until
	}
	if q.KeyFor != "" {
		if x.Recipient, err = age.ParseX25519Recipient(q.KeyFor); err != nil {
			return x, refusal.New(refusal.Malformed, "admin: key_for: %w", err)
		}
	}
	if q.Previous != "" {
		if x.Previous, err = trail.ParseHead(q.Previous); err != nil {
			return x, refusal.New(refusal.Malformed, "admin: previous: %w", err)
		}
	}
	return x, nil
}
