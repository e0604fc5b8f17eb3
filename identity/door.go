package identity

// A kind is which of the three tokens it is. The zero kind is none.
type kind uint8

const (
	storeToken    kind = iota + 1 // at+jwt of ours, for one broker
	providerToken                 // what an identity provider issues
	txnToken                      // txntoken+jwt of ours
)

// The media types of our tokens: an access token (RFC 9068), the one that is
// presented as a password or an API key, and a Txn-Token
// (draft-ietf-oauth-transaction-tokens-10), which never is.
const (
	storeType = "at+jwt"
	txnType   = "txntoken+jwt"
)

// scheme is what precedes the trust domain in the iss of our tokens.
const scheme = "https://"

// kindAt returns the one kind of token that is good at a door.
func kindAt(broker string) kind {
	switch broker {
	case "":
		return 0
	case Edge:
		return providerToken
	case Exchange:
		return txnToken
	default:
		return storeToken
	}
}
