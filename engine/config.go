package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"imcd/evapi"
)

// What the exit of a room's last owner does (Config.OwnerLeave).
const (
	OwnerLeaveDestroy  = "destroy"  // the room is gone, as the module documents it
	OwnerLeaveRefuse   = "refuse"   // the owner must destroy the room instead, as in Kamailio 5 and later
	OwnerLeaveTransfer = "transfer" // the oldest admin, else the oldest member, becomes owner
)

// Who of another domain than Kamailio's may be a member (Config.ForeignUsers).
const (
	ForeignRefuse  = "refuse"  // nobody, but who is one already
	ForeignInvited = "invited" // who is invited or added by an owner or admin
	ForeignAllow   = "allow"   // everybody, as users of own domains
)

// Config says how rooms behave. The names in the comments are the keys of the
// configuration file; those that the imc module has mean what they mean there.
type Config struct {
	HashSize      int    // hash_size: power of two of the number of shards, 0…10
	CmdStartChar  string // imc_cmd_start_char: one printable ASCII character
	ExtraHeaders  string // extra_hdrs: header lines added to everything sent, CRLF between
	CreateOnJoin  bool   // create_on_join: joining a room that does not exist makes it
	CheckOnCreate bool   // check_on_create: creating a room that exists never joins it
	OwnerLeave    string // owner_leave: destroy, refuse or transfer

	SuccessCode    int               // success_code: final reply to an accepted request, 200 or 202
	ForbiddenCode  int               // forbidden_code: final reply to a forbidden request: 403, 406, 480 or 603
	MessageFormat  string            // message_format: texts as members see them; {user}, {display}, {room}, {body}
	ShowNames      string            // show_names: names of members in texts: ShowUser, ShowDisplay or ShowBoth
	AttachmentLine string            // attachment_line: before attachments of unnamed senders; {user}, {type}; "": none
	TypingMembers  int               // typing_members: "is typing" is passed on in rooms of at most so many; 0: never
	NoticeRepeat   time.Duration     // notice_repeat: the same notice about refused messages once in so long; 0: each time
	JoinNotices    string            // join_notices: who joins and leaves: JoinsAll, JoinsCounted or JoinsOff
	JoinWindow     time.Duration     // join_window: JoinsCounted: a larger room gets one notice in so long at most
	DeleteWithin   time.Duration     // delete_within: how long senders can delete a message; 0: only admins can
	KeyCost        int               // no key: the cost of a hash of #set key, as bcrypt has it
	KeepOrigins    bool              // no key: the source of copies is kept for the Relay (Origin)
	Notices        map[string]string // notices: templates by name that replace DefaultNotices
	ListBytes      int               // list_bytes: longest body of one part of a list

	MaxMembers  int    // max_members_per_room: 0 for no limit
	MaxRooms    int    // max_rooms_per_user: that one user owns; 0 for no limit
	CreateAllow string // create_allow: who makes rooms: a regular expression of URIs, or CreateOperators; empty: all

	ServiceAdmins string // service_admins: URIs of users who may do in every room what its owner may, with commas

	ForeignUsers string // foreign_users: who of another domain may be a member: refuse, invited or allow

	RateSenderMessages Rate // rate_sender_messages: messages of one user to all rooms
	RateSenderCommands Rate // rate_sender_commands: commands of one user to all rooms
	RateRoomMessages   Rate // rate_room_messages: messages in one room
	RateRoomJoins      Rate // rate_room_joins: attempts to join one room

	AutoReplies int // auto_replies: answers of one text in a row after which a member is taken for a machine; 0: never

	Receipts       string // receipts: whether a sender gets receipts, sender or off
	ReceiptMembers int    // receipt_members: not in rooms with more members

	LogRequests bool // log_requests: a line for each request and delivery, at info

	MailboxSize    int           // mailbox_size: requests that may wait in a shard; then 503
	CommitQueue    int           // commit_queue: changes that may wait for the database; then 503
	CommitTimeout  time.Duration // commit_timeout: deadline of one try of a commit
	MaxOutstanding int           // max_outstanding: copies under way that were sent just now, and most answers
	MaxBurst       int           // max_burst: of these, those without an answer, a long one as several; 0: automatic
	MemberWindow   int           // member_window: copies to one member under way in a room; above 1 they may change places
	ResultTimeout  time.Duration // result_timeout: a copy without an outcome is sent again after it
	LogEntries     int           // room_log_entries: messages that a room keeps in memory for slow members
	LogBytes       int           // room_log_bytes: its bytes
	TotalBytes     int           // total_log_bytes: of requests and messages in memory (held); above it, 503
	MaxDelay       time.Duration // max_delay: how late messages may come because of the load; above, 503; 0: no limit
	RetryAfter     time.Duration // retry_after: how long a 503 asks the client to wait

	Durability      string        // durability: commit (a 200 is a promise) or memory (it is not)
	CursorFlush     time.Duration // cursor_flush: longest time for which a delivery is not noted
	RetryMin        time.Duration // retry_min: wait before a failed copy is sent again for the first time
	RetryMax        time.Duration // retry_max: longest wait before a failed copy is sent again
	OfflineRetry    time.Duration // offline_retry: the same for members that are not registered
	SignEvery       time.Duration // sign_every: a user who gives a sign of life is tried once in this time at most
	PoisonTries     int           // poison_tries: a message that got no answer so often is skipped; 0: never
	DuplicateWindow time.Duration // duplicate_window: how long a request is recognised again
	HistoryOnJoin   int           // history_on_join: messages that are shown to who joins
	HistoryMax      int           // history_max: messages that the command history shows at most
	MemberBacklog   int           // member_backlog: messages owed to one member at most; 0: no limit
	RoomMessages    int           // room_messages: messages kept per room; 0: no limit
	RoomBytes       int           // room_bytes: bytes of messages kept per room; 0: no limit
	MessageAge      time.Duration // message_age: how long messages are kept; 0: no limit

	DevicesPerUser int           // devices_per_user: devices of a user that are known at most; 0: none
	DeviceKeep     time.Duration // device_keep: a device is forgotten that was not heard of for so long
	OwnDevices     bool          // own_devices: what a user writes on one device comes to the others

	WebhookEvents EventKind     // webhook_events: what is stored for the webhook; 0: nothing, there is none
	WebhookBodies bool          // webhook_bodies: with what was said
	WebhookQuiet  time.Duration // webhook_quiet: a member is said to have missed something once in so long
}

// What a 200 to a room message means (Config.Durability).
const (
	DurabilityCommit = "commit" // the message is in the database
	DurabilityMemory = "memory" // it will be in a moment; lost if imcd dies before
)

// DefaultConfig returns the values that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		HashSize:       4,
		CmdStartChar:   "#",
		CreateOnJoin:   true,
		OwnerLeave:     OwnerLeaveDestroy,
		ForeignUsers:   ForeignInvited,
		SuccessCode:    200,
		ForbiddenCode:  403,
		MessageFormat:  "[{user}]: {body}",
		ShowNames:      ShowUser,
		AttachmentLine: "[{user}] sent {type}",
		TypingMembers:  20,
		NoticeRepeat:   10 * time.Second,
		JoinNotices:    JoinsCounted,
		JoinWindow:     5 * time.Second,
		DeleteWithin:   time.Hour,
		KeyCost:        bcrypt.DefaultCost,
		ListBytes:      1200,
		Receipts:       ReceiptsSender,
		ReceiptMembers: 50,
		MailboxSize:    1024,
		CommitQueue:    8192,
		CommitTimeout:  3 * time.Second,
		MaxOutstanding: 32768,
		MaxBurst:       0,
		MemberWindow:   1,
		ResultTimeout:  15 * time.Second,
		LogEntries:     256,
		LogBytes:       8 << 20,
		TotalBytes:     256 << 20,
		MaxDelay:       5 * time.Second,
		AutoReplies:    10,
		RetryAfter:     5 * time.Second,

		Durability:      DurabilityCommit,
		CursorFlush:     20 * time.Millisecond,
		RetryMin:        time.Second,
		RetryMax:        5 * time.Minute,
		OfflineRetry:    15 * time.Minute,
		SignEvery:       3 * time.Second,
		PoisonTries:     5,
		DuplicateWindow: 2 * time.Minute,
		HistoryMax:      100,
		MemberBacklog:   10000,
		RoomMessages:    20000,
		RoomBytes:       64 << 20,
		MessageAge:      30 * 24 * time.Hour,

		DevicesPerUser: 10,
		DeviceKeep:     30 * 24 * time.Hour,
		OwnDevices:     true,

		WebhookQuiet: 30 * time.Second,
	}
}

// Validate reports the first bad value, by its key in the configuration file.
func (c Config) Validate() error {
	for _, n := range []struct {
		key           string
		val, min, max int
	}{
		{"hash_size", c.HashSize, 0, 10},
		{"typing_members", c.TypingMembers, 0, 1000},
		{"list_bytes", c.ListBytes, 200, 8000},
		{"max_members_per_room", c.MaxMembers, 0, 1 << 30},
		{"auto_replies", c.AutoReplies, 0, 1000},
		{"max_rooms_per_user", c.MaxRooms, 0, 1 << 30},
		{"receipt_members", c.ReceiptMembers, 0, 1000},
		{"mailbox_size", c.MailboxSize, 1, 1 << 20},
		{"KeyCost", c.KeyCost, bcrypt.MinCost, bcrypt.MaxCost},
		{"commit_queue", c.CommitQueue, 1, 1 << 20},
		{"max_outstanding", c.MaxOutstanding, 1, 1 << 20},
		{"max_burst", c.MaxBurst, 0, 1 << 20},
		{"member_window", c.MemberWindow, 1, 16},
		{"room_log_entries", c.LogEntries, 1, 1 << 20},
		{"room_log_bytes", c.LogBytes, 64 << 10, 1 << 40},
		{"total_log_bytes", c.TotalBytes, 64 << 10, 1 << 50},
		{"poison_tries", c.PoisonTries, 0, 200},
		{"history_on_join", c.HistoryOnJoin, 0, 1000},
		{"history_max", c.HistoryMax, 1, 1000},
		{"member_backlog", c.MemberBacklog, 0, 1 << 40},
		{"room_messages", c.RoomMessages, 0, 1 << 40},
		{"room_bytes", c.RoomBytes, 0, 1 << 50},
		{"devices_per_user", c.DevicesPerUser, 0, 100},
	} {
		if n.val < n.min || n.val > n.max {
			return fmt.Errorf("%s: %d is not in %d…%d", n.key, n.val, n.min, n.max)
		}
	}
	for _, d := range []struct {
		key string
		val time.Duration
	}{{"commit_timeout", c.CommitTimeout}, {"result_timeout", c.ResultTimeout}, {"retry_after", c.RetryAfter},
		{"cursor_flush", c.CursorFlush}, {"retry_max", c.RetryMax}, {"offline_retry", c.OfflineRetry},
		{"retry_min", c.RetryMin}, {"sign_every", c.SignEvery}, {"duplicate_window", c.DuplicateWindow},
		{"device_keep", c.DeviceKeep}, {"webhook_quiet", c.WebhookQuiet}, {"join_window", c.JoinWindow}} {
		if d.val <= 0 {
			return fmt.Errorf("%s: %v is not a positive duration", d.key, d.val)
		}
	}
	for _, r := range []struct {
		key string
		val Rate
	}{{limitSenderMessages, c.RateSenderMessages}, {limitSenderCommands, c.RateSenderCommands},
		{limitRoomMessages, c.RateRoomMessages}, {limitRoomJoins, c.RateRoomJoins}} {
		if err := r.val.validate(); err != nil {
			return fmt.Errorf("%s: %w", r.key, err)
		}
	}
	return c.validateWords()
}

func (c Config) validateWords() error {
	if len(c.CmdStartChar) != 1 || c.CmdStartChar[0] <= ' ' || c.CmdStartChar[0] > '~' {
		return fmt.Errorf("imc_cmd_start_char: %q is not one printable ASCII character", c.CmdStartChar)
	}
	switch c.OwnerLeave {
	case OwnerLeaveDestroy, OwnerLeaveRefuse, OwnerLeaveTransfer:
	default:
		return fmt.Errorf("owner_leave: %q is none of destroy, refuse, transfer", c.OwnerLeave)
	}
	if _, err := newCreators(c.CreateAllow); err != nil {
		return fmt.Errorf("create_allow: %w", err)
	}
	if _, err := newServiceAdmins(c.ServiceAdmins); err != nil {
		return fmt.Errorf("service_admins: %w", err)
	}
	if c.Receipts != ReceiptsSender && c.Receipts != ReceiptsOff {
		return fmt.Errorf("receipts: %q is neither sender nor off", c.Receipts)
	}
	if c.Durability != DurabilityCommit && c.Durability != DurabilityMemory {
		return fmt.Errorf("durability: %q is neither commit nor memory", c.Durability)
	}
	switch c.ForeignUsers {
	case ForeignRefuse, ForeignInvited, ForeignAllow:
	default:
		return fmt.Errorf("foreign_users: %q is neither refuse, invited nor allow", c.ForeignUsers)
	}
	if c.MessageAge < 0 {
		return fmt.Errorf("message_age: %v is negative", c.MessageAge)
	}
	if c.NoticeRepeat < 0 {
		return fmt.Errorf("notice_repeat: %v is negative", c.NoticeRepeat)
	}
	if err := checkTemplate(c.AttachmentLine, "user", "room", "type"); err != nil {
		return fmt.Errorf("attachment_line: %w", err)
	}
	if c.MaxDelay < 0 {
		return fmt.Errorf("max_delay: %v is negative", c.MaxDelay)
	}
	if c.SuccessCode != 200 && c.SuccessCode != 202 {
		return fmt.Errorf("success_code: %d is neither 200 nor 202", c.SuccessCode)
	}
	switch c.ForbiddenCode {
	case 403, 406, 480, 603:
	default:
		return fmt.Errorf("forbidden_code: %d is none of 403, 406, 480, 603", c.ForbiddenCode)
	}
	switch c.JoinNotices {
	case JoinsAll, JoinsCounted, JoinsOff:
	default:
		return fmt.Errorf("join_notices: %q is none of all, counted, off", c.JoinNotices)
	}
	if c.ShowNames != ShowUser && c.ShowNames != ShowDisplay && c.ShowNames != ShowBoth {
		return fmt.Errorf("show_names: %q is none of user, display, both", c.ShowNames)
	}
	if !strings.Contains(c.MessageFormat, "{body}") {
		return errors.New("message_format: has no {body}")
	}
	if err := checkTemplate(c.MessageFormat, "user", "display", "room"); err != nil {
		return fmt.Errorf("message_format: %w", err)
	}
	if _, err := parseExtraHeaders(c.ExtraHeaders); err != nil {
		return fmt.Errorf("extra_hdrs: %w", err)
	}
	_, err := newNotices(c.Notices)
	return err
}

// Who goes without receipts, and who gets them (Config.Receipts).
const (
	ReceiptsSender = "sender" // a sender whose client speaks receipts gets one of each kind
	ReceiptsOff    = "off"    // nobody
)

// How a room learns of joinings and leavings (Config.JoinNotices).
const (
	JoinsAll     = "all"     // of each by itself
	JoinsCounted = "counted" // of each by itself up to joinsEach members, above that of several together
	JoinsOff     = "off"     // of nobody
)

// headers that the engine or Kamailio writes itself.
var ownHeaders = "|from|to|via|call-id|cseq|contact|content-type|content-length|max-forwards|route|f|t|v|i|m|c|l|" +
	"date|expires|auto-submitted|x-imc-path|content-encoding|e|content-transfer-encoding|content-disposition|" +
	"content-language|content-id|mime-version|"

// parseExtraHeaders reads extra_hdrs: lines of "Name: value", with CRLF (or the
// two characters \r\n, as in a kamailio.cfg string) between and perhaps after.
func parseExtraHeaders(s string) ([]evapi.Header, error) {
	s = strings.ReplaceAll(s, `\r\n`, "\r\n")
	var headers []evapi.Header
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || name == "" || !onlyOf(name, tokenChars):
			return nil, fmt.Errorf("%q is not a header line (Name: value)", line)
		case strings.Contains(ownHeaders, "|"+strings.ToLower(name)+"|"):
			return nil, fmt.Errorf("header %s is set by imcd or Kamailio", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return nil, errors.New("a value has a control character")
		}
		headers = append(headers, evapi.Header{Name: name, Value: value})
	}
	return headers, nil
}

// How members are called (Config.ShowNames).
const (
	ShowUser    = "user"    // by the user part of their address, with the domain if it is not the room's
	ShowDisplay = "display" // by their display name, where they have one that nobody else has
	ShowBoth    = "both"    // by both
)
