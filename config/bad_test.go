package config

// A good file in two parts, so that a bad one can put its mistake between.
const store = "brokers: {postgres: {store: {address: a/b, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}, databases: {app: {schemas: [app]}}}}\n"

const head = "version: 1\ntrust_domain: isocore.local\n"

// bad is every kind of mistake with exactly what is said of it.
var bad = map[string]struct {
	text string
	want []string
}{
	"nothing":       {"", []string{"c.yaml:1:1: is empty"}},
	"comment":       {"# nothing\n", []string{"c.yaml:1:1: is empty"}},
	"a word":        {"hello\n", []string{"c.yaml:1:1: has to be a section, not text"}},
	"two documents": {head + store + "---\nversion: 1\n", []string{"c.yaml:5:1: is a second document; there is one in a file"}},
	"syntax":        {head + "brokers: {postgres: \n", []string{"c.yaml:3:19: is not YAML: could not find map value"}},
	"not UTF-8":     {"version: \xff\n", []string{"c.yaml:1:1: is not UTF-8 text of at most 64 KiB"}},
	"all missing": {"limits:\n", []string{
		"c.yaml:1:1: version: is missing",
		"c.yaml:1:1: trust_domain: is missing",
		"c.yaml:1:1: brokers: is missing",
	}},
	"no broker":         {head + "brokers: {}\n", []string{"c.yaml:3:1: brokers: is empty: nothing would run (add a section edge or postgres)"}},
	"empty broker":      {head + "brokers:\n  postgres:\n", []string{"c.yaml:4:3: brokers.postgres.store: is missing", "c.yaml:4:3: brokers.postgres.databases: is missing"}},
	"unknown, misspelt": {head + "adit: {}\n" + store, []string{"c.yaml:3:1: adit: is not a setting (did you mean audit?)"}},
	"unknown, deep":     {head + "limits: {default: {speed: 1/s}}\n" + store, []string{"c.yaml:3:20: limits.default.speed: is not a setting"}},
	"twice":             {head + "keys: {dir: keys}\nkeys: {dir: x}\n" + store, []string{"c.yaml:4:1: keys: is there twice, first on line 3"}},
	"merge, anchor, tag": {head + "limits: &l {default: {}}\naudit: !!map {}\nkeys: *l\n" + store, []string{
		"c.yaml:3:1: limits: has to be a section, not an anchor, alias or tag",
		"c.yaml:4:1: audit: has to be a section, not an anchor, alias or tag",
		"c.yaml:5:1: keys: has to be a section, not an anchor, alias or tag",
	}},
	"later version":     {"version: 2\ntrust_domain: isocore.local\n" + store, []string{"c.yaml:1:1: version: 2 is not 1"}},
	"version in quotes": {"version: \"1\"\ntrust_domain: isocore.local\n" + store, []string{"c.yaml:1:1: version: has to be a whole number, not text"}},
	"version in hex":    {"version: 0x1\ntrust_domain: isocore.local\n" + store, []string{"c.yaml:1:1: version: has to be a whole number, not a number"}},
	"types": {"version: [1]\ntrust_domain: true\nkeys: 5\naudit: {strict: postgres, queue: 1ms, dir: {}, parameters: [digest]}\n" + store, []string{
		"c.yaml:1:1: version: has to be a whole number, not a list",
		"c.yaml:2:1: trust_domain: has to be text, not true or false",
		"c.yaml:3:1: keys: has to be a section, not a number",
		"c.yaml:4:9: audit.strict: has to be a list, not text (write [one, two])",
		"c.yaml:4:27: audit.queue: has to be a whole number, not text",
		"c.yaml:4:39: audit.dir: has to be text, not a section",
		"c.yaml:4:48: audit.parameters: has to be text, not a list",
	}},
	"units": {head + "audit: {interval: 1, deadline: -1s, epoch: 2 h, min_free: 0.05, queue: -1}\nlimits: {default: {rate: 500, statement: 30, record_bytes: 1073741824, burst: 1k}}\n" + store, []string{
		`c.yaml:3:9: audit.interval: "1" is not a duration (write 30s)`,
		`c.yaml:3:22: audit.deadline: "-1s" is not a duration (write 30s)`,
		`c.yaml:3:37: audit.epoch: "2 h" is not a duration (write 30s)`,
		`c.yaml:3:49: audit.min_free: "0.05" is not a share (write 5%)`,
		`c.yaml:3:65: audit.queue: has to be a whole number, not a number`,
		`c.yaml:4:20: limits.default.rate: "500" is not a rate (write 500/s)`,
		`c.yaml:4:31: limits.default.statement: "30" is not a duration (write 30s)`,
		`c.yaml:4:46: limits.default.record_bytes: "1073741824" is not a number of bytes a day (write 1GiB/day)`,
		`c.yaml:4:72: limits.default.burst: has to be a whole number, not text`,
	}},
	"more units": {head + "audit: {min_free: 100%}\nlimits: {default: {rate: 0/s, record_bytes: 9999999TiB/day}}\n" + store, []string{
		`c.yaml:3:9: audit.min_free: "100%" is not a share (write 5%)`,
		`c.yaml:4:20: limits.default.rate: "0/s" is not a rate (write 500/s)`,
		`c.yaml:4:31: limits.default.record_bytes: "9999999TiB/day" is not a number of bytes a day (write 1GiB/day)`,
	}},
	"ranges": {head + "audit: {interval: 2s, queue: 0}\nlimits: {default: {connections: 99999999}}\n" + store, []string{
		"c.yaml:3:9: audit.interval: 2s is not between 0s and 1s",
		"c.yaml:3:23: audit.queue: 0 is not between 1 and 1048576",
		"c.yaml:4:20: limits.default.connections: 99999999 is not between 1 and 1000000",
	}},
	"words": {head + "audit: {parameters: digests, strict: [ai, ai, 7]}\n" + store, []string{
		`c.yaml:3:9: audit.parameters: "digests" is not one of digest, full, none (did you mean digest?)`,
		`c.yaml:3:43: audit.strict: "ai" is there twice`,
		`c.yaml:3:47: audit.strict: holds something that is not plain text`,
	}},
	"not a broker": {head + "audit: {strict: [postgre]}\n" + store, []string{`c.yaml:3:9: audit.strict: "postgre" is not a broker (did you mean postgres?)`}},
	"trust domain": {"version: 1\ntrust_domain: IsoCore.local\n" + store, []string{`c.yaml:2:1: trust_domain: "IsoCore.local" is not a lower-case DNS name (write isocore.example.org)`}},
	"secrets": {head + "registry: {dsn_file: keys/none}\nadmin: {tls: {cert_file: tls.crt, key_file: keys/open}}\nbrokers:\n  postgres:\n    tls: {key_file: keys/empty}\n    store: {address: a/b, login_file: keys/blank, keeper_file: keys}\n    databases: {app: {schemas: [app]}}\n", []string{
		"c.yaml:3:12: registry.dsn_file: keys/none does not exist",
		"c.yaml:4:35: admin.tls.key_file: keys/open has mode 0644: others could use it (chmod 0600)",
		"c.yaml:7:5: brokers.postgres.tls.cert_file: is missing beside the key",
		"c.yaml:7:11: brokers.postgres.tls.key_file: keys/empty is empty",
		"c.yaml:8:27: brokers.postgres.store.login_file: keys/blank is empty",
		"c.yaml:8:51: brokers.postgres.store.keeper_file: keys is not a file",
	}},
	"secrets, more": {head + "registry: {dsn_file: pipe}\nkeys: {dir: loose}\n" + store, []string{
		"c.yaml:3:12: registry.dsn_file: pipe is not a file",
		"c.yaml:4:8: keys.dir: loose has mode 0777: others could write there (chmod 0700)",
	}},
	"secret too large": {head + "registry: {dsn_file: keys/large}\n" + store, []string{"c.yaml:3:12: registry.dsn_file: keys/large has more than 1 MiB"}},
	"default missing":  {head + "keys: {dir: none}\n" + store, []string{"c.yaml:3:8: keys.dir: none does not exist"}},
	"beyond loopback": {head + "admin: {listen: \"0.0.0.0:7900\"}\nbrokers:\n  postgres:\n    listen: \"[::]:7432\"\n    store: {address: db.example.org:5432, tls: off, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}\n    databases: {app: {schemas: [app]}}\n", []string{
		"c.yaml:3:9: admin.listen: 0.0.0.0:7900 is reached from other machines, and there is no TLS (set admin.tls.cert_file and admin.tls.key_file)",
		"c.yaml:6:5: brokers.postgres.listen: [::]:7432 is reached from other machines, and there is no TLS (set brokers.postgres.tls.cert_file and brokers.postgres.tls.key_file)",
		"c.yaml:7:43: brokers.postgres.store.tls: is off, and db.example.org:5432 is another machine (write verify-full)",
	}},
	"addresses": {head + "admin: {listen: localhost:7900}\nbrokers:\n  postgres:\n    listen: 7432\n    store: {address: db, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}\n    databases: {app: {schemas: [app]}}\n", []string{
		`c.yaml:3:9: admin.listen: "localhost:7900" is not an IP address with a port (write 127.0.0.1:7432, or 0.0.0.0:7432 for every interface)`,
		`c.yaml:6:5: brokers.postgres.listen: "7432" is not an IP address with a port (write 127.0.0.1:7432, or 0.0.0.0:7432 for every interface)`,
		`c.yaml:7:13: brokers.postgres.store.address: "db" is neither the path of a socket nor host:port (write /run/postgresql/.s.PGSQL.5432, or db.example.org:5432)`,
	}},
	"same address, off": {head + "admin: {listen: \"127.0.0.1:7432\"}\n" + store, []string{
		"c.yaml:4:11: brokers.postgres.listen: is the address of admin.listen",
	}},
	"certificates": {head + "admin: {tls: {cert_file: tls.crt}}\nbrokers:\n  postgres:\n    listen: off\n    tls: {cert_file: tls.crt, key_file: other.key}\n    store: {address: a/b, tls: verify-full, ca_file: c.yaml, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}\n    databases: {app: {schemas: [app]}}\n", []string{
		"c.yaml:3:9: admin.tls.key_file: is missing beside the certificate",
		"c.yaml:6:5: brokers.postgres.listen: is off, and the broker would not be reached (leave out the section brokers.postgres)",
		"c.yaml:7:11: brokers.postgres.tls.cert_file: is not the certificate of the key: tls: private key does not match public key",
		"c.yaml:8:27: brokers.postgres.store.tls: is verify-full on a unix socket, where PostgreSQL has no TLS (leave it out)",
		"c.yaml:8:45: brokers.postgres.store.ca_file: c.yaml does not exist",
	}},
	"ca without tls": {head + "brokers: {postgres: {store: {address: a/b, ca_file: tls.key, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}, databases: {app: {schemas: [app]}}}}\n", []string{
		"c.yaml:3:44: brokers.postgres.store.ca_file: is there, and TLS is off (leave it out)",
	}},
	"databases": {head + "brokers:\n  postgres:\n    store: {address: a/b, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}\n    databases:\n      a: {}\n      b: {schemas: []}\n      c: {schemas: [isocore]}\n      d.e: {schemas: [x]}\n      f:\n", []string{
		"c.yaml:7:7: brokers.postgres.databases.a.schemas: is missing",
		"c.yaml:8:11: brokers.postgres.databases.b.schemas: is empty: nothing could be read",
		`c.yaml:9:11: brokers.postgres.databases.c.schemas: "isocore" belongs to the server or to us (name schemas that hold tenants' tables)`,
		"c.yaml:10:7: brokers.postgres.databases.d.e: has a dot in its name",
		"c.yaml:11:7: brokers.postgres.databases.f.schemas: is missing",
	}},
	"no database": {head + "brokers: {postgres: {store: {address: a/b, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}, databases: {}}}\n", []string{
		"c.yaml:3:129: brokers.postgres.databases: is empty",
	}},
	"long socket": {head + "admin: {socket: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n" + store, []string{
		"c.yaml:3:9: admin.socket: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa has 105 bytes; a socket may have 100 (use a shorter directory)",
	}},
	"edge": {head + "brokers:\n  edge:\n    listen: 127.0.0.1:7900\n    routes:\n      a: {host: App.test, upstream: 127.0.0.1:1, reach: [pg:read]}\n      b: {host: app.test, path: /x/../y, upstream: \"http://10.0.0.1:80\", reach: []}\n      c: {host: \"{tenant}.{tenant}.test\", path: \"/t/{tenant}\", upstream: \"http://127.0.0.1:1/x\", reach: [PG]}\n      d: {host: app.test, upstream: \"https://127.0.0.1:1\", reach: [http], transport: fast, reuse: 1m, body: 1}\n      e_f: {host: app.test, upstream: \"http://127.0.0.1:1\", reach: [http], ca_file: tls.key}\n      g: {host: g.test, upstream: \"http://127.0.0.1:1\", reach: [pg: read]}\n", []string{
		"c.yaml:5:5: brokers.edge.listen: is the address of admin.listen",
		`c.yaml:7:11: brokers.edge.routes.a.host: "App.test" is not a lower-case DNS name (write app.example.org, or {tenant}.example.org)`,
		`c.yaml:7:27: brokers.edge.routes.a.upstream: "127.0.0.1:1" is neither http://host:port nor https://host:port (write http://127.0.0.1:7081)`,
		`c.yaml:8:27: brokers.edge.routes.b.path: "/x/../y" is not a plain path (write /, /notes or /t/{tenant})`,
		"c.yaml:8:42: brokers.edge.routes.b.upstream: http://10.0.0.1:80 is another machine, and there is no TLS (write https://)",
		"c.yaml:8:74: brokers.edge.routes.b.reach: is empty: the Txn-Token would open nothing (write [pg:read])",
		`c.yaml:9:11: brokers.edge.routes.c.host: "{tenant}.{tenant}.test" is not a lower-case DNS name (write app.example.org, or {tenant}.example.org)`,
		"c.yaml:9:43: brokers.edge.routes.c.path: names a tenant and no partner: tenants of two partners may have one name (add partner: home, or {partner} beside {tenant})",
		`c.yaml:9:64: brokers.edge.routes.c.upstream: "http://127.0.0.1:1/x" is neither http://host:port nor https://host:port (write http://127.0.0.1:7081)`,
		`c.yaml:9:98: brokers.edge.routes.c.reach: "PG" is not a reach (write pg:read, pg:write, http)`,
		"c.yaml:10:75: brokers.edge.routes.d.transport: \"fast\" is not one of stock, direct",
		"c.yaml:10:92: brokers.edge.routes.d.reuse: 1m is not between 0s and 10s",
		`c.yaml:10:103: brokers.edge.routes.d.body: "1" is not a number of bytes (write 16MiB)`,
		"c.yaml:11:7: brokers.edge.routes.e_f: is not a name of lower-case letters, digits and hyphens, up to 40",
		"c.yaml:12:65: brokers.edge.routes.g.reach: holds something that is not plain text",
	}},
	"routes": {head + "admin: {listen: \"127.0.0.1:7900\"}\nbrokers:\n  edge:\n    listen: 127.0.0.1:7080\n    routes:\n" +
		"      a: {host: \"{tenant}.a.test\", upstream: \"http://127.0.0.1:7080\", reach: [pg:reed]}\n" +
		"      b: {host: b.test, path: \"/t/{tenant}\", upstream: \"http://localhost:7900\", reach: [http], reuse: 10s, token_life: 10s}\n" +
		"      c: {host: \"{tenant}.c.test\", partner: Home, upstream: \"http://127.0.0.1:7432\", reach: [http], token_life: 1500ms}\n" +
		"      d: {host: d.test, path: /.well-known/isocore, upstream: \"http://127.0.0.1:1\", reach: [http], strip: [x-user*, X-Role]}\n" +
		"      e: {host: e.test, path: /.well-known/isocore/mirror, upstream: \"http://127.0.0.1:1\", reach: [http], strip: [\"*\"]}\n" +
		"      f: {host: \"{tenant}.f.test\", partner: home, path: /.well-known/isocores, upstream: \"http://127.0.0.1:1\", reach: [http], reuse: 1s, token_life: 2s, strip: [x-*, remote-user]}\n" +
		"      g: {host: \"{tenant}.{partner}.g.test\", upstream: \"http://127.0.0.2:7080\", reach: [http]}\n" +
		"      h: {host: \"{partner}.h.test\", path: \"/{tenant}\", upstream: \"http://127.0.0.1:1\", reach: [http]}\n" +
		"      i: {host: \"{partner}.i.test\", upstream: \"http://127.0.0.1:1\", reach: [http]}\n" +
		"  postgres:\n    listen: 0.0.0.0:7432\n    tls: {cert_file: tls.crt, key_file: tls.key}\n    store: {address: a/b, login_file: keys/isocore_login.password, keeper_file: keys/isocore_keeper.password}\n    databases: {app: {schemas: [app]}}\n", []string{
		`c.yaml:8:11: brokers.edge.routes.a.host: names a tenant and no partner: tenants of two partners may have one name (add partner: home, or {partner} beside {tenant})`,
		`c.yaml:8:36: brokers.edge.routes.a.upstream: http://127.0.0.1:7080 is brokers.edge.listen, where this node answers itself (write where the application answers)`,
		`c.yaml:8:71: brokers.edge.routes.a.reach: "pg:reed" is not a reach (did you mean pg:read?)`,
		`c.yaml:9:25: brokers.edge.routes.b.path: names a tenant and no partner: tenants of two partners may have one name (add partner: home, or {partner} beside {tenant})`,
		`c.yaml:9:46: brokers.edge.routes.b.upstream: http://localhost:7900 is admin.listen, where this node answers itself (write where the application answers)`,
		`c.yaml:9:96: brokers.edge.routes.b.reuse: 10s is not less than the 10s that the Txn-Token lives`,
		`c.yaml:10:36: brokers.edge.routes.c.partner: "Home" is not the name of a partner (write home)`,
		`c.yaml:10:51: brokers.edge.routes.c.upstream: http://127.0.0.1:7432 is brokers.postgres.listen, where this node answers itself (write where the application answers)`,
		`c.yaml:10:101: brokers.edge.routes.c.token_life: 1.5s is not whole seconds`,
		`c.yaml:11:25: brokers.edge.routes.d.path: "/.well-known/isocore" is the edge's own: the application would not be asked`,
		`c.yaml:11:100: brokers.edge.routes.d.strip: "X-Role" is not a header in lower case (write x-user, or x-user* for whatever begins so)`,
		`c.yaml:12:25: brokers.edge.routes.e.path: "/.well-known/isocore/mirror" is the edge's own: the application would not be asked`,
		`c.yaml:12:107: brokers.edge.routes.e.strip: "*" is not a header in lower case (write x-user, or x-user* for whatever begins so)`,
	}},
	"exchange without a door": {head + "admin: {listen: off}\nbrokers: {edge: {routes: {a: {host: a.test, upstream: \"http://127.0.0.1:1\", reach: [http]}, b: {host: a.test, upstream: \"http://127.0.0.1:2\", reach: [http]}}}, exchange: {hosts: [A]}}\n", []string{
		"c.yaml:4:93: brokers.edge.routes.b: has the host and path of a",
		"c.yaml:4:161: brokers.exchange: is there, and admin.listen, where it answers, is off (give admin.listen an address)",
	}},
	"control characters": {head + "keys: {dir: \"a\\u0000b\"}\n" + store, []string{"c.yaml:3:8: keys.dir: has to be printable text of at most 4096 bytes on one line"}},
	"a block":            {head + "keys:\n  dir: |\n    keys\n" + store, []string{"c.yaml:4:3: keys.dir: has to be text, not a block of text"}},
}
