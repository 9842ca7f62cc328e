package mailbox

import "github.com/emersion/go-sasl"

// xoauth2 is the SASL mechanism that Google and Microsoft made for tokens.
type xoauth2 struct{ username, token string }

var _ sasl.Client = (*xoauth2)(nil)

func (x *xoauth2) Start() (mechanism string, response []byte, err error) {
	return "XOAUTH2", []byte("user=" + x.username + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

// Next is asked when the token is refused. The challenge says why.
func (x *xoauth2) Next(challenge []byte) ([]byte, error) {
	return nil, &refusal{code: "AUTHENTICATIONFAILED", text: string(challenge)}
}
