package preset

import "github.com/isocore/isocore/identity"

const (
	rs256 = "RS256"
	jwt   = "JWT"
	at    = "at+jwt" // RFC 9068, which few issue unless they are told to
	sub   = "/sub"
)

// noType is for providers that write no typ at all.
const noType = ""

// consumers is the tenant of Microsoft's personal accounts: anybody's.
const consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"

// presets are what is known, each with how well. PS256, which some of these
// makers offer, is none of our algorithms: choose RS256 there.
var presets = []Preset{
	{
		Name: "generic", Known: Ours,
		Types: []string{at, jwt}, Algorithms: []string{"EdDSA", "Ed25519", "ES256", rs256}, Shape: identity.Scalar, SubjectAt: sub,
	},
	{
		Name: "auth0", Known: Documented, // manage-users/organizations/using-tokens; that a token says JWT is general knowledge
		Issuer: "https://{domain}/", JWKSURI: "https://{domain}/.well-known/jwks.json",
		Types: []string{at, jwt}, Algorithms: []string{rs256}, TenantAt: "/org_id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"the issuer ends in a slash",
			"bind org_id and not org_name, which may change",
			"an ID token has the client id as its audience, an access token the API's identifier: name the one you send",
		},
	},
	{
		Name: "entra", Known: Heard, // tid is documented; typ and where the keys are is general knowledge
		Issuer: "https://login.microsoftonline.com/{tid}/v2.0", JWKSURI: "https://login.microsoftonline.com/{tid}/discovery/v2.0/keys",
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/tid", Shape: identity.Scalar,
		SubjectAt: "/oid", // within tid; neither an address nor a name, both of which change hands
		Never:     []string{consumers},
		Notes: []string{
			"each directory is an issuer of its own: add one for each; common, organizations and consumers are none",
			"the tenant's value is the directory's id, in lower case",
		},
	},
	{
		Name: "keycloak", Known: Source, // shape by version; where the keys are is general knowledge
		Issuer: "https://{host}/realms/{realm}", JWKSURI: "https://{host}/realms/{realm}/protocol/openid-connect/certs",
		Types: []string{at, jwt}, Algorithms: []string{rs256, "ES256", "EdDSA"}, TenantAt: "/organization", Shape: identity.SingleArray, SubjectAt: sub,
		Notes: []string{
			"ask for the scope organization:ALIAS: a token with several organizations is refused",
			"Keycloak 25, and a mapper that adds the id, write an object: use the shape single-key",
		},
	},
	{
		Name: "workos", Known: Documented, // reference/authkit/session-tokens; typ is general knowledge
		Issuer: "https://api.workos.com/user_management/{client_id}", JWKSURI: "https://api.workos.com/sso/jwks/{client_id}",
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/org_id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"a session token has no audience unless its template adds one: add it, or name the client id as party; a token with neither is refused",
			"with the issuer https://api.workos.com, or a domain of your own, use generic and say where the keys are",
		},
	},
	{
		Name: "clerk", Known: Documented, // guides/sessions/session-tokens, backend-requests/handling/manual-jwt
		Issuer: "https://{frontend_api}", JWKSURI: "https://{frontend_api}/.well-known/jwks.json",
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/o/id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"a session token has no audience unless it is customised: add one, and name your origins as parties",
			"version 1 tokens have org_id: they are refused",
			"the header member cat, by which Clerk tells kinds of token apart, is not looked at: what counts is the audience and the organization",
		},
	},
	{
		Name: "zitadel", Known: Documented, // apis/openidoauth/claims; typ and where the keys are is general knowledge
		Issuer: "https://{domain}", JWKSURI: "https://{domain}/oauth/v2/keys",
		Types: []string{at, jwt}, Algorithms: []string{rs256}, TenantAt: "/urn:zitadel:iam:user:resourceowner:id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"ask for the scope urn:zitadel:iam:user:resourceowner",
			"it is the user's home organization, not one that was granted",
		},
	},
	{
		Name: "okta", Known: Heard,
		Issuer: "https://{org}.okta.com/oauth2/{server}", JWKSURI: "https://{org}.okta.com/oauth2/{server}/v1/keys",
		Types: []string{noType, jwt, at}, Algorithms: []string{rs256}, Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"there is no tenant claim: add one to a custom authorization server, and say where it is",
			"access tokens of the org authorization server are not for others to verify",
		},
	},
	{
		Name: "cognito", Known: Documented, // verifying a JWT; that its header has no typ is general knowledge
		Issuer:  "https://cognito-idp.{region}.amazonaws.com/{pool}",
		JWKSURI: "https://cognito-idp.{region}.amazonaws.com/{pool}/.well-known/jwks.json",
		Types:   []string{noType, jwt}, Algorithms: []string{rs256}, TenantAt: "/custom:tenant_id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"the attribute has to be immutable and not writable by clients, or users choose their tenant",
			"an access token has no audience: name the app client's id as party, and have a pre-token-generation trigger add the attribute",
		},
	},
	{
		Name: "google", Known: Heard,
		Issuer: "https://accounts.google.com", JWKSURI: "https://www.googleapis.com/oauth2/v3/certs",
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/hd", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{
			"only ID tokens of Workspace accounts have hd: consumers are refused",
			"a domain may be sold: hd is then its new owner's",
		},
	},
	{
		Name: "firebase", Known: Heard,
		Issuer:  "https://securetoken.google.com/{project}",
		JWKSURI: "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
		Types:   []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/firebase/tenant", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"the audience is the project's id", "the keys are those of every project: the issuer and the audience tell them apart"},
	},
	{
		Name: "stytch", Known: Source,
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/https:~1~1stytch.com~1organization/organization_id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"the issuer stytch.com/PROJECT is no URL: give the project a domain of its own"},
	},
	{
		Name: "descope", Known: Heard,
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/dct", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"dct is the current tenant; a token with tenants alone is refused"},
	},
	{
		Name: "kinde", Known: Heard,
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/org_code", Shape: identity.Scalar, SubjectAt: sub,
	},
	{
		Name: "frontegg", Known: Heard,
		Types: []string{jwt}, Algorithms: []string{rs256}, TenantAt: "/tenantId", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"tenantId is the current tenant; tenantIds are all of them, and not looked at"},
	},
	{
		Name: "logto", Known: Heard,
		Types: []string{at, jwt}, Algorithms: []string{"ES256", rs256}, TenantAt: "/organization_id", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"an organization token has the audience urn:logto:organization:ID instead: it is refused"},
	},
	{
		Name: "fusionauth", Known: Heard,
		Types: []string{jwt}, Algorithms: []string{rs256, "ES256", "EdDSA"}, TenantAt: "/tid", Shape: identity.Scalar, SubjectAt: sub,
		Notes: []string{"before version 1.60 the header has gty: such a token is refused"},
	},
}
