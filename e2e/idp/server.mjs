// An identity provider to test against: oidc-provider as it comes, which
// issues JWT access tokens to clients of several organisations.
//
//   node server.mjs DIR
//
// DIR has tls.crt and tls.key to show, and clients.json:
//
//   {"audience": "https://...", "clients": [{"id", "secret", "organisation", "alg"}]}
//
// It listens on a free port of 127.0.0.1 and says its URL in a line on stdout.
// A line on stdin is a command, answered by the same line once it is done:
//
//   rotate   new keys sign from now on; the ones before stay published
//   retire   only the keys that sign are published
//
// It ends with its stdin.
import { generateKeyPair, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

import Provider from 'oidc-provider'

const dir = process.argv[2]
const read = (name) => readFileSync(join(dir, name))
const { audience, clients } = JSON.parse(read('clients.json'))

const kinds = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
}

// draw returns a private key for each algorithm, under a name of its own.
const draw = () => Promise.all(Object.entries(kinds).map(async ([alg, [kind, options]]) => {
  const { privateKey } = await promisify(generateKeyPair)(kind, options)
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomBytes(8).toString('hex') }
}))

// provider returns one that publishes keys and signs with the first of each
// algorithm. A provider's keys are for life: others take another provider.
function provider(issuer, keys) {
  const p = new Provider(issuer, {
    jwks: { keys },
    clients: clients.map((c) => ({
      client_id: c.id, client_secret: c.secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    })),
    cookies: { keys: [randomBytes(32).toString('hex')] },
    ttl: { ClientCredentials: 300 },
    extraTokenClaims: (ctx) => ({ org_id: clients.find((c) => c.id === ctx.oidc.client.clientId).organisation }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo(ctx, resource, client) {
          const { alg } = clients.find((c) => c.id === client.clientId)
          const { kid } = keys.find((k) => k.alg === alg)
          return { audience: resource, scope: '', accessTokenFormat: 'jwt', jwt: { sign: { alg, kid } } }
        },
      },
    },
  })
  return p.callback()
}

let keys = await draw()
let answer
const server = createServer({ cert: read('tls.crt'), key: read('tls.key') }, (req, res) => answer(req, res))
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const issuer = `https://127.0.0.1:${server.address().port}`
answer = provider(issuer, keys)
console.log(issuer)

const commands = {
  async rotate() { keys = [...await draw(), ...keys] },
  async retire() { keys = keys.slice(0, Object.keys(kinds).length) },
}

for await (const line of createInterface({ input: process.stdin })) {
  await commands[line]()
  answer = provider(issuer, keys)
  console.log(line)
}
process.exit(0)
