package api

import "context"

// Role is how much somebody may do, in the words of the configuration.
type Role string

// The roles.
const (
	RoleRead  Role = "READ"  // look
	RoleAdmin Role = "ADMIN" // all that the commands can do
)

// Identity is who asks the daemon for something.
type Identity struct {
	Name string // "token deploy", "user root (uid 0)", or the address of a request with neither
	Role Role
}

type identityKey struct{}

// WithIdentity is ctx for a request of who.
func WithIdentity(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}

// IdentityOf is who made the request that ctx belongs to. It is zero where
// nobody did, as for a job that was due.
func IdentityOf(ctx context.Context) Identity {
	who, _ := ctx.Value(identityKey{}).(Identity)
	return who
}
