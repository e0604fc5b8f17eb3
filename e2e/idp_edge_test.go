package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isocore/isocore/internal/jws"
)

// An application stands behind the edge. It believes what a Txn-Token says
// once it has verified it with the keys that the node publishes, as one in any
// language would, and answers with it.
type application struct {
	*httptest.Server
	keys atomic.Pointer[jws.KeySet]
}

// told is what the application was told of a request.
type told struct {
	Path     string `json:"path"`
	Bearer   string `json:"bearer"` // what it should never see
	Workload string `json:"req_wl"`
	Txn      string `json:"txn"`
	Context  struct {
		Tenant string `json:"tenant"`
	} `json:"tctx"`
}

func newApplication(t *testing.T) *application {
	a := &application{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := told{Path: r.URL.Path, Bearer: r.Header.Get("Authorization")}
		err := a.read(r.Header.Values("Txn-Token"), &t)
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		json.NewEncoder(w).Encode(t) //nolint:errcheck // the client would notice
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) read(tokens []string, into *told) error {
	if len(tokens) != 1 {
		return fmt.Errorf("%d tokens", len(tokens))
	}
	token, err := jws.Parse(tokens[0])
	if err != nil {
		return err
	}
	payload, _, err := a.keys.Load().Verify(token)
	if err != nil {
		return err
	}
	return jws.DecodeOpen(payload, into)
}

// A scene is a node with an edge alone before an application, and an identity
// provider whose organisations have tenants there.
type scene struct {
	*home
	config string
	at     string // where the edge answers
	app    *application
	idp    *idp
	client *http.Client
	known  time.Time // when the edge was seen to have the keys
}

// pause is within which an identity provider is not asked for its keys again,
// whatever tokens say.
const pause = 10 * time.Second

// edgeSection puts an application behind the edge, for each tenant at a host
// of its own.
const edgeSection = `  edge:
    listen: 127.0.0.1:0
    tls: {cert_file: tls.crt, key_file: tls.key}
    routes: {app: {host: "{tenant}.app.test", partner: home, path: /, upstream: %q, reach: [http]}}
`

func newScene(t *testing.T) *scene {
	t.Helper()
	store := newHome(t)
	store.up("--no-demo")
	dir := filepath.Join(filepath.Dir(store.dir), "node")
	store.production(dir)
	ca := newAuthority(t)
	ca.issue(dir, "clinic.app.test", "advisory.app.test", "stranger.app.test")
	write(t, filepath.Join(dir, "idp.pem"), ca.pem())
	s := &scene{
		home: &home{T: t, dir: filepath.Join(dir, "none")}, config: filepath.Join(dir, "isocore.yaml"), // everything it does is by --config
		app: newApplication(t), idp: newIdP(ca), client: ca.client(),
	}
	s.onlyEdge()
	s.serveConfig(s.config)
	at := decode[struct {
		Addresses map[string]string `json:"addresses"`
	}](s.home, "--config", s.config, "endpoints").Addresses
	s.at = at["edge"]
	s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.at)
	}
	s.app.keys.Store(s.published("http://" + at["public"] + "/.well-known/jwks.json"))
	s.register(filepath.Join(dir, "idp.pem"))
	return s
}

// onlyEdge gives the node no store, an edge, and limits that are not in the way.
func (s *scene) onlyEdge() {
	s.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		s.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "  postgres:\n")
	text = strings.Replace(text, "{connections: 64}", "{connections: 64, rate: 100000/s, burst: 100000}", 1)
	text = strings.Replace(text, "{min_free: 1%}", "{min_free: 1%, deadline: 10s}", 1)
	write(s.T, s.config, []byte(text+fmt.Sprintf(edgeSection, s.app.URL)))
}

// published returns the keys that the node signs with.
func (s *scene) published(at string) *jws.KeySet {
	s.Helper()
	r, err := (&http.Client{Timeout: 10 * time.Second}).Get(at)
	if err != nil {
		s.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // it was read
	doc, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		s.Fatal(err)
	}
	set, err := jws.ParseKeySet(doc)
	if err != nil {
		s.Fatalf("%v\n%s", err, doc)
	}
	return set
}

// register makes the tenants and says which organisation each of them is.
func (s *scene) register(ca string) {
	s.Helper()
	s.cli("issuer", "add", s.idp.url, "--jwks-uri", s.idp.url+"/jwks", "--ca-file", ca, "--private", "--audience", appAudience, "--tenant-at", "/org_id")
	for _, name := range []string{"clinic", "advisory", "stranger"} {
		s.cli("tenant", "create", name)
	}
	s.cli("issuer", "bind", s.idp.url, "org_clinic", "--tenant", "clinic")
	s.cli("issuer", "bind", s.idp.url, "org_advisory", "--tenant", "advisory")
	token := s.idp.token("clinic-portal")
	s.until(30*time.Second, "the edge has the keys of the identity provider", func() bool {
		_, status := s.ask("clinic", token)
		return status == http.StatusOK
	})
	s.known = time.Now()
}

// cli runs isocore with the configuration of s.
func (s *scene) cli(args ...string) string {
	s.Helper()
	return s.must(append([]string{"--config", s.config}, args...)...)
}

// ask shows token at the host of a tenant. It may be called by many at once.
func (s *scene) ask(tenant, token string) (told, int) {
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+tenant+".app.test/notes", nil)
	if err != nil {
		s.Error(err)
		return told{}, 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := s.client.Do(r)
	if err != nil {
		s.Error(err)
		return told{}, 0
	}
	defer a.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil {
		s.Error(err)
	}
	var t told
	if a.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, &t); err != nil {
			s.Errorf("%v: %s", err, b)
		}
	}
	if a.StatusCode == http.StatusTeapot {
		s.Errorf("the application: %s", b)
	}
	return t, a.StatusCode
}

// refused wants token not to be let in at the host of a tenant.
func (s *scene) refused(what, tenant, token string, want int) {
	s.Helper()
	if _, status := s.ask(tenant, token); status != want {
		s.Errorf("%s: %d, want %d", what, status, want)
	}
}

// lands wants token to be let in at the host of its tenant, as that tenant.
func (s *scene) lands(what, name, token string) {
	s.Helper()
	id := decode[tenant](s.home, "--config", s.config, "tenant", "show", name).ID
	t, status := s.ask(name, token)
	if status != http.StatusOK || t.Context.Tenant != id || t.Workload != "app" || t.Path != "/notes" || t.Txn == "" || t.Bearer != "" {
		s.Errorf("%s: %d, %+v; want tenant %s", what, status, t, id)
	}
}

// An identity provider's organisations are tenants where they were bound, and
// nothing where they were not.
func TestOrganisations(t *testing.T) {
	long(t)
	t.Parallel()
	s := newScene(t)
	clinic, advisory, stranger := s.idp.token("clinic-portal"), s.idp.token("advisory-portal"), s.idp.token("stranger")
	s.lands("its own host", "clinic", clinic)
	s.lands("its own host, RS256", "advisory", advisory)
	s.refused("an organisation that is nobody's", "stranger", stranger, http.StatusUnauthorized)
	s.refused("the same at a tenant's host", "clinic", stranger, http.StatusUnauthorized)
	s.refused("another tenant's host", "advisory", clinic, http.StatusNotFound)
	s.refused("another tenant's host", "clinic", advisory, http.StatusNotFound)
	s.refused("no token", "clinic", "", http.StatusUnauthorized)
	s.refused("a part of a token", "clinic", clinic[:len(clinic)-8], http.StatusUnauthorized)
	for token, code := range map[string]int{clinic: 0, advisory: 0, stranger: 1} {
		if r := s.runWith(strings.NewReader(token), "--config", s.config, "issuer", "test", s.idp.url); r.code != code {
			t.Errorf("issuer test: %v", r)
		}
	}
	s.cli("issuer", "bind", s.idp.url, "org_stranger", "--tenant", "stranger")
	s.until(5*time.Second, "a binding acts", func() bool { _, status := s.ask("stranger", stranger); return status == http.StatusOK })
	s.lands("once it is bound", "stranger", stranger)
	s.cli("issuer", "unbind", s.idp.url, "org_stranger")
	s.until(5*time.Second, "its end acts", func() bool { _, status := s.ask("stranger", stranger); return status == http.StatusUnauthorized })
	if log := s.cli("audit", "tail", "--tenant", "clinic"); !strings.Contains(log, "GET") || !strings.Contains(log, "issuer") {
		t.Errorf("the clinic's log: %s", log)
	}
	s.idp.stop()
	s.lands("with keys that are known, while the identity provider is away", "clinic", clinic)
	s.lands("likewise", "advisory", advisory)
	s.cli("issuer", "remove", s.idp.url, "--yes")
	s.until(5*time.Second, "its removal acts", func() bool { _, status := s.ask("clinic", clinic); return status == http.StatusUnauthorized })
}

// A traffic is requests that go on while something happens to the keys.
type traffic struct {
	*scene
	token atomic.Pointer[string]
	done  atomic.Int64
	stop  context.CancelFunc
	all   sync.WaitGroup
}

// goOn asks again and again from several goroutines, with the tokens there
// were and with the newest, until stop. Not one request may fail.
func (s *scene) goOn(tokens ...string) *traffic {
	ctx, stop := context.WithCancel(s.Context())
	f := &traffic{scene: s, stop: stop}
	f.token.Store(&tokens[0])
	for _, old := range tokens {
		f.all.Go(func() {
			for ctx.Err() == nil {
				for what, token := range map[string]string{"old": old, "newest": *f.token.Load()} {
					if _, status := s.ask("clinic", token); status != http.StatusOK {
						s.Errorf("with the %s token: %d", what, status)
						stop()
					}
				}
				f.done.Add(1)
			}
		})
	}
	return f
}

// more waits until every kind of request was made again.
func (f *traffic) more() {
	f.Helper()
	want := f.done.Load() + 200
	f.until(time.Minute, "requests go on", func() bool { return f.done.Load() >= want || f.Failed() })
}

// Keys rotate while requests run: old tokens are good while their key is
// published, new ones at once; once the old key is published no more and the
// keys were fetched again, its tokens are refused.
func TestRotation(t *testing.T) {
	long(t)
	t.Parallel()
	s := newScene(t)
	first := s.idp.token("clinic-portal")
	f := s.goOn(first, first, s.idp.token("clinic-portal"))
	defer f.all.Wait()
	defer f.stop()
	f.more()
	f.until(time.Minute, "the keys may be asked for again", func() bool { return time.Since(s.known) > pause })
	s.idp.do("rotate")
	second := s.idp.token("clinic-portal")
	f.token.Store(&second)
	f.more()
	f.stop()
	f.all.Wait()
	t.Logf("%d rounds of requests around the rotation", f.done.Load())
	s.idp.do("retire")
	s.idp.do("rotate")
	third := s.idp.token("clinic-portal")
	s.until(time.Minute, "a token whose key is not known has the keys fetched", func() bool { _, status := s.ask("clinic", third); return status == http.StatusOK })
	s.refused("the key was retired", "clinic", first, http.StatusUnauthorized)
	s.lands("the key is published still", "clinic", second)
	s.lands("the newest", "clinic", third)
}
