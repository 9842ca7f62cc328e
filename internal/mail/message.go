package mail

import (
	"errors"
	"io"
	"maps"
	"os"
	"strconv"
	"time"

	"mailpoller/internal/disposition"
)

// Box identifies the mailbox behind a session. What is recorded of one box
// says nothing about another: the UIDs of a rebuilt mailbox, or of another
// account under the same connection name, are void.
type Box struct {
	Account  string // Connection.Account
	Validity uint32 // IMAP: UIDVALIDITY; POP3: 0
}

// Ref names one message of one box. Exactly one of UID and UIDL is set.
type Ref struct {
	UID  uint32 // IMAP
	UIDL string // POP3: the unique-id, told apart where a server repeats it
	Num  int    // POP3: the message number, good for one session
	Size int64  // octets as the server announces them; 0 when it was not asked
}

// ID is the name of the message within its box.
func (r Ref) ID() string {
	if r.UID != 0 {
		return strconv.FormatUint(uint64(r.UID), 10)
	}
	return r.UIDL
}

// Same reports whether both name the same message.
func (r Ref) Same(other Ref) bool { return r.UID == other.UID && r.UIDL == other.UIDL }

// Set is a set of messages of one box. The zero value is empty.
type Set struct {
	UIDs  UIDSet              // IMAP
	UIDLs map[string]struct{} // POP3
}

// Add puts r into the set.
func (s *Set) Add(r Ref) {
	if r.UID != 0 {
		s.UIDs.Add(r.UID, r.UID)
		return
	}
	if s.UIDLs == nil {
		s.UIDLs = make(map[string]struct{})
	}
	s.UIDLs[r.UIDL] = struct{}{}
}

// Has reports whether r is in the set.
func (s Set) Has(r Ref) bool {
	if r.UID != 0 {
		return s.UIDs.Contains(r.UID)
	}
	_, ok := s.UIDLs[r.UIDL]
	return ok
}

// Refs are the messages of the set, by their names alone.
func (s Set) Refs() []Ref {
	var refs []Ref
	for uid := range s.UIDs.All(false) {
		refs = append(refs, Ref{UID: uid})
	}
	for uidl := range s.UIDLs {
		refs = append(refs, Ref{UIDL: uidl})
	}
	return refs
}

// Clone is a copy that shares nothing with s.
func (s Set) Clone() Set {
	return Set{UIDs: s.UIDs.Clone(), UIDLs: maps.Clone(s.UIDLs)}
}

// Remove takes r out of the set.
func (s *Set) Remove(r Ref) {
	if r.UID != 0 {
		s.UIDs.Remove(r.UID)
		return
	}
	delete(s.UIDLs, r.UIDL)
}

// Len is how many messages the set holds.
func (s Set) Len() int { return s.UIDs.Len() + len(s.UIDLs) }

// Query asks a session which messages to take.
type Query struct {
	Pull    disposition.Pull
	Exclude []Set // passed over
	Only    *Set  // unless nil: among these alone, read or not, marked as deleted or not
	Unread  *Set  // unless nil: these count as unread, whatever the server says of them
	After   *Ref  // unless nil: only what comes behind it in the order of Pull
	Limit   int   // at most this many; 0 means all
	Sizes   bool  // fill in Ref.Size
}

// Message is one message that a session was asked to fetch.
type Message struct {
	Ref
	Received time.Time // by the server; zero where it was not asked
	Flags    []string  // as the server shows them; nil where it was not asked
	Sequence int       // among the messages that a job takes, from 1
	// Body streams the octets of the message, once. An error of the writer
	// is returned as it is; a message that ends short is an error. Nil when
	// Err is set.
	Body io.WriterTo
	// Err says why the server did not hand the message over, although the
	// session can go on.
	Err error
	// Retracted says that what came before of this message does not count.
	Retracted bool
}

// Entry is a saved message as the journal records it. Its octets are durable
// under Temp when it is recorded; what makes it visible is the rename of Temp
// to Name. So a record whose Temp is gone was delivered, wherever the file is
// by now, and one whose Temp is still there was not.
type Entry struct {
	Ref
	Octets int64 // what was received and written
	Digest Digest
	Dir    string // absolute path of the target folder
	Inode  uint64 // identity of the directory of Temp: one that is another by now proves nothing about it
	Temp   string // path in Dir; empty when the message was delivered earlier, under another UID
	Name   string // path in Dir
	Shared bool   // other messages may have the same Name: what has it already is one of them
	Stage  Stage  // how far its disposition has come
	Facts  []byte // JSON, for the command that is to be run; nil where there is none

	SHA256 Digest // of all that was written; zero in what the journal returns
	// File is what was written and is not durable yet. It is open until
	// folder.Store has synced or discarded it, and nil in the journal.
	File *os.File
}

// Stage is how far the disposition of a saved message has come that is not known
// to be in force.
type Stage string

// The stages.
const (
	NotAsked Stage = ""       // the server may not have been asked
	Asked    Stage = "ASKED"  // it said OK, and was not seen to have done it
	Copied   Stage = "COPIED" // it has a copy where the message is to be moved, and has still to remove it here
)

// Commitment is what became of the dispositions that a session was to put in
// force. Those of messages in none of the lists are in force.
type Commitment struct {
	Asked    []Ref  // the server said OK, and was not seen to have done it
	Copied   []Ref  // it copied them, and did not remove them
	Refused  []Ref  // it refused
	Err      *Error // why it refused; the session goes on, where a commit does not end it
	Warnings []string
	Wait     time.Duration // how long the server wants to see no other session; 0 when it does not say
}

// Ledger is what the journal holds of one connection and the box it opened.
type Ledger struct {
	Saved   Set       // every message on record as saved
	Seen    Set       // the part of Saved for which SEEN was put in force
	Pending []Entry   // the part of Saved whose disposition is not known to be in force
	Orphans []Entry   // pending in a box that is void: only their files are left to publish
	Unsaved []Unsaved // messages that failed, are not wanted, or are too large
	Rebuilt bool      // there are digests of a void box to recognise messages by
}

// Notice is a command that has still to be run for a message that is saved.
type Notice struct {
	ID    int64
	Dir   string // absolute path of the target folder
	Temp  string // of the entry
	Name  string // path in Dir
	Facts []byte // JSON
	Saved time.Time
	Tries int // that failed
	// Pending says that the journal does not know whether the message is
	// visible yet.
	Pending bool
}

// ErrNoAttachments says that a message has none, where only such are wanted.
var ErrNoAttachments = errors.New("message has no attachments")

// JobsBeforeQuarantine is in how many jobs a message fails before jobs skip it.
const JobsBeforeQuarantine = 3

// Unsaved is a message that stays on the server because of what is wrong with
// it.
type Unsaved struct {
	Ref
	Oversized bool // larger than max_message_size; never fetched
	Unwanted  bool // it has no attachments, where only such messages are wanted
	// Interrupted says that nothing is wrong with it: a session ended while it was
	// fetched. The server may have marked it as read meanwhile.
	Interrupted bool
	Late        bool   // it took longer than an attempt may; it is tried behind all others
	Jobs        int    // in how many jobs it failed
	Reason      string // of the last failure, in one line

	// What its header says, decoded; empty where that is not known.
	From, Subject string
	Date          time.Time
}

// Quarantined reports whether jobs skip the message because it failed in several.
func (f Unsaved) Quarantined() bool { return f.Jobs >= JobsBeforeQuarantine }

// Skipped reports whether jobs skip the message.
func (f Unsaved) Skipped() bool { return f.Oversized || f.Unwanted || f.Quarantined() }
