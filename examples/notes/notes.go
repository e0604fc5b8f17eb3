package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/workload"
)

// notes answers requests out of one database.
type notes struct {
	pool   *pgxpool.Pool
	log    *slog.Logger
	search func(*http.Request) (pgx.Rows, error)
}

// routes returns the application.
func routes(pool *pgxpool.Pool, log *slog.Logger, buggy bool) http.Handler {
	n := &notes{pool: pool, log: log}
	n.search = n.careful
	if buggy {
		n.search = n.careless
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /documents", n.answer(n.list))
	mux.HandleFunc("POST /documents", n.answer(n.add))
	mux.HandleFunc("GET /events", n.answer(n.events))
	return mux
}

// A document is one as the application's clients see it.
type document struct {
	Tenant  string    `json:"tenant"`
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Author  string    `json:"author"`
	Created time.Time `json:"created"`
}

const columns = "SELECT tenant_id, id, title, author, created FROM app.document"

const newest = " ORDER BY created DESC, id LIMIT 100"

// careful is the search of people who know that the table is shared.
func (n *notes) careful(r *http.Request) (pgx.Rows, error) {
	id, _ := workload.From(r.Context())
	return n.pool.Query(r.Context(),
		columns+" WHERE tenant_id = $1 AND (title ILIKE $2 OR body ILIKE $2)"+newest,
		id.Tenant().UUID(), "%"+r.FormValue("q")+"%")
}

// careless is the search of those who forgot. It asks for everybody's
// documents, and still gets one tenant's.
func (n *notes) careless(r *http.Request) (pgx.Rows, error) {
	return n.pool.Query(r.Context(), columns+newest)
}

// list answers GET /documents?q=.
func (n *notes) list(w http.ResponseWriter, r *http.Request) error {
	rows, err := n.search(r)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[document])
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(found)
}

// add answers POST /documents, a JSON object with title, body and the number
// of the person it is about.
func (n *notes) add(w http.ResponseWriter, r *http.Request) error {
	var d struct {
		Title, Body string
		Person      int64
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&d); err != nil || d.Title == "" {
		return errRequest
	}
	id, _ := workload.From(r.Context())
	var made string
	err := n.pool.QueryRow(r.Context(),
		`INSERT INTO app.document (tenant_id, id, person_id, kind, title, body, author, keywords, created)
		VALUES ($1, gen_random_uuid(), $2, 'note', $3, $4, $5, '{}', now()) RETURNING id`,
		id.Tenant().UUID(), d.Person, d.Title, d.Body, id.Subject()).Scan(&made)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	return json.NewEncoder(w).Encode(map[string]string{"id": made})
}

// events answers GET /events: every second how many documents there are, until
// the client goes or its token is over.
func (n *notes) events(w http.ResponseWriter, r *http.Request) error {
	out, tick := http.NewResponseController(w), time.NewTicker(time.Second)
	defer tick.Stop()
	for began := false; ; began = true {
		var count int64
		err := n.pool.QueryRow(r.Context(), "SELECT count(*) FROM app.document").Scan(&count)
		if err != nil && !began {
			return err
		}
		if err != nil {
			fmt.Fprintf(w, "event: over\ndata: %s\n\n", http.StatusText(status(err)))
			return out.Flush()
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: documents\ndata: %d\n\n", count)
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return nil
		}
	}
}

var errRequest = errors.New("write {\"title\": ..., \"body\": ..., \"person\": 1}")

// answer makes one place that says what went wrong.
func (n *notes) answer(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil || r.Context().Err() != nil {
			return
		}
		status := status(err)
		id, _ := workload.From(r.Context())
		n.log.WarnContext(r.Context(), "request failed", "txn", id.Txn(), "status", status, "err", err)
		http.Error(w, http.StatusText(status), status)
	}
}

func status(err error) int {
	pg, fromStore := errors.AsType[*pgconn.PgError](err)
	switch reason := refusal.Of(err); {
	case errors.Is(err, errRequest), fromStore && pg.Code[:2] == "23": // a key or a person that is not there
		return http.StatusBadRequest
	case fromStore && pg.Code == "42501", reason == refusal.Narrow, reason == refusal.Suspended:
		return http.StatusForbidden
	case fromStore && pg.Code[:2] == "28", reason == refusal.Unauthenticated, reason == refusal.Expired:
		return http.StatusUnauthorized
	default:
		return http.StatusServiceUnavailable
	}
}
