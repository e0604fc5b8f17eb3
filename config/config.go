// Package config is the one door for settings: a strict reader of isocore.yaml
// that says everything that is wrong with a file in one go.
//
// A setting is a field of [Config]; its comment is its documentation, in the
// JSON Schema too. There is no environment and there are no option functions.
// What a tag says of a field:
//
//	yaml     its key
//	default  what stands for it when it is not there, as it would be written
//	need     "true": it has to be there
//	range    the least and the greatest number, size, duration or rate
//	enum     the words it may be
package config

// Version is the only version of the file there is.
const Version = 1

// Config is isocore.yaml.
type Config struct {
	// The version of the file: 1.
	Version int `yaml:"version" need:"true" range:"1,1"`
	// The name under which tokens are issued and believed, as a DNS name.
	TrustDomain string `yaml:"trust_domain" need:"true"`
	// Where tenants, issuers and wrapped keys are kept.
	Registry Registry `yaml:"registry"`
	// Where this node's own keys are.
	Keys Keys `yaml:"keys"`
	// The audit trail.
	Audit Audit `yaml:"audit"`
	// The doors of the operator.
	Admin Admin `yaml:"admin"`
	// What one tenant may use at once, a second, a day.
	Limits Limits `yaml:"limits"`
	// A broker runs if it has a section here, and only then.
	Brokers Brokers `yaml:"brokers" need:"true"`
}

// Registry says where tenants, issuers and wrapped keys are kept.
type Registry struct {
	// File with the connection string of the role isocore_registry.
	DSN Secret `yaml:"dsn_file" default:"keys/registry.dsn"`
}

// Keys says where this node's own keys are.
type Keys struct {
	// Directory of kek.key, mint.key, checkpoint.key and admin.key, each of mode 0600.
	Dir Path `yaml:"dir" default:"keys"`
}

// Audit is the audit trail.
type Audit struct {
	// Directory of the log.
	Dir Path `yaml:"dir" default:"audit"`
	// Brokers whose outcome has to be durable before an answer leaves, not the decision alone.
	Strict []string `yaml:"strict"`
	// The longest that a record waits for others to share its commit.
	Interval Duration `yaml:"interval" default:"1ms" range:"0s,1s"`
	// How many records may wait at once.
	Queue int `yaml:"queue" default:"4096" range:"1,1048576"`
	// How long an operation waits for its record before it is refused.
	Deadline Duration `yaml:"deadline" default:"250ms" range:"1ms,1m"`
	// The share of the file system that has to be free: with less, operations are refused.
	MinFree Percent `yaml:"min_free" default:"5%"`
	// How often a checkpoint is signed.
	Epoch Duration `yaml:"epoch" default:"1s" range:"10ms,1h"`
	// What is recorded of bound parameters: a keyed digest, all of them, or nothing.
	Parameters string `yaml:"parameters" default:"digest" enum:"digest,full,none"`
}

// Admin is the doors of the operator.
type Admin struct {
	// Unix socket of the command line.
	Socket Path `yaml:"socket" default:"run/admin.sock"`
	// Address of the admin API, or off.
	Listen Listen `yaml:"listen" default:"127.0.0.1:7900"`
	// Certificate of the admin API; needed when it listens beyond loopback.
	TLS TLS `yaml:"tls"`
}

// Limits is what tenants may use.
type Limits struct {
	// The limits of each tenant.
	Default Limit `yaml:"default"`
}

// Limit is what one tenant may use.
type Limit struct {
	// Connections at once.
	Connections int `yaml:"connections" default:"64" range:"1,1000000"`
	// Sessions at once over HTTP, where a session is a token and no connection.
	Sessions int `yaml:"sessions" default:"10000" range:"1,1000000"`
	// Operations.
	Rate Rate `yaml:"rate" default:"500/s"`
	// Operations above the rate after a quiet time.
	Burst int `yaml:"burst" default:"1000" range:"1,1000000"`
	// The longest that one statement may run.
	Statement Duration `yaml:"statement" default:"30s" range:"1ms,24h"`
	// Operations admitted and not yet answered.
	Queue int `yaml:"queue" default:"64" range:"1,1000000"`
	// Audit records.
	RecordBytes Budget `yaml:"record_bytes" default:"1GiB/day"`
}

// Brokers are the brokers that can run.
type Brokers struct {
	// The edge: applications behind a reverse proxy that knows tenants.
	Edge *Edge `yaml:"edge"`
	// Tokens for stores in exchange for Txn-Tokens, at admin.listen.
	Exchange *ExchangeSection `yaml:"exchange"`
	// The PostgreSQL broker.
	Postgres *Postgres `yaml:"postgres"`
}

// Edge is the reverse proxy before applications.
type Edge struct {
	// Address for clients.
	Listen Listen `yaml:"listen" default:"127.0.0.1:7080"`
	// Certificate shown to clients; needed when it listens beyond loopback.
	TLS TLS `yaml:"tls"`
	// The applications, by the name that records and Txn-Tokens call them.
	Routes map[string]Route `yaml:"routes" need:"true"`
}

// Route is one application behind the edge.
type Route struct {
	// The host clients call; {tenant} or {partner} may stand for a whole label, and has to be the caller's own.
	Host string `yaml:"host" need:"true"`
	// What the path begins with; {tenant} or {partner} may stand for a whole segment, and has to be the caller's own.
	Path string `yaml:"path" default:"/"`
	// The one partner whose tenants it serves, for others nothing is there; needed with {tenant} and no {partner}, for names are each partner's own.
	Partner string `yaml:"partner"`
	// Where the application answers: http://host:port or https://host:port.
	Upstream Upstream `yaml:"upstream" need:"true"`
	// Certificates by which an https application is verified; without it, those of the system.
	CA File `yaml:"ca_file"`
	// What the Txn-Token passes on of what its person reaches.
	Reach []string `yaml:"reach" need:"true"`
	// Headers of clients that do not arrive, beside those that never do: in lower case with hyphens; an asterisk at the end stands for anything.
	Strip []string `yaml:"strip"`
	// How the application is reached: by the standard library's transport, or directly on our own path.
	Transport string `yaml:"transport" default:"stock" enum:"stock,direct"`
	// For how long one Txn-Token serves the requests of one token; 0s: one each.
	Reuse Duration `yaml:"reuse" default:"0s" range:"0s,10s"`
	// How long a Txn-Token lives.
	TokenLife Duration `yaml:"token_life" default:"2m" range:"1s,15m"`
	// The longest body of a request.
	Body Size `yaml:"body" default:"16MiB"`
	// How long the application may take to begin its answer.
	Answer Duration `yaml:"answer" default:"30s" range:"10ms,1h"`
	// How long a body may pause, and an unused connection is kept.
	Idle Duration `yaml:"idle" default:"1m" range:"1s,1h"`
	// Connections to the application; a tenant has three quarters of them at most.
	Connections int `yaml:"connections" default:"256" range:"2,100000"`
}

// ExchangeSection is the token endpoint of applications.
type ExchangeSection struct {
	// Names under which applications call admin.listen, beside localhost and addresses.
	Hosts []string `yaml:"hosts"`
}

// Postgres is the PostgreSQL broker.
type Postgres struct {
	// Address for clients.
	Listen Listen `yaml:"listen" default:"127.0.0.1:7432"`
	// Certificate shown to clients; needed when it listens beyond loopback.
	TLS TLS `yaml:"tls"`
	// The PostgreSQL server behind.
	Store Store `yaml:"store" need:"true"`
	// Connections to the server.
	Slots int `yaml:"slots" default:"16" range:"1,10000"`
	// The databases a client can name, by that name.
	Databases map[string]Database `yaml:"databases" need:"true"`
}

// Store is a PostgreSQL server.
type Store struct {
	// Path of a unix socket, or host:port.
	Address Address `yaml:"address" need:"true"`
	// How a server at host:port is known: verify-full (the default there), or off on loopback.
	TLS string `yaml:"tls" enum:"off,verify-full"`
	// Certificates by which the server is verified; without it, those of the system.
	CA File `yaml:"ca_file"`
	// File with the password of the role isocore_login.
	Login Secret `yaml:"login_file" need:"true"`
	// File with the password of the role that rotates the context keys.
	Keeper Secret `yaml:"keeper_file" need:"true"`
}

// Database is one database of a server.
type Database struct {
	// Its name in the server; without it, the name clients use.
	Name string `yaml:"name"`
	// The protected schemas.
	Schemas []string `yaml:"schemas" need:"true"`
}

// TLS is a certificate with its key.
type TLS struct {
	// PEM file with the certificate and those between it and its root.
	Cert File `yaml:"cert_file"`
	// PEM file with the key.
	Key Secret `yaml:"key_file"`
}
