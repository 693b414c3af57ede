package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine"
	"imcd/evapi"
)

// keys are all settings, in the order of the sample file.
func keys() []key {
	return slices.Concat(moduleKeys(), kamailioKeys(), serviceKeys(), accessKeys(), roomKeys(), limitKeys(), rateKeys(),
		deliveryKeys(), webhookKeys())
}

func isKey(name string) bool {
	return slices.ContainsFunc(keys(), func(k key) bool { return k.name == name })
}

// moduleKeys are the parameters of the imc module, under its names.
func moduleKeys() []key {
	return []key{
		secretKey("db_url", "database: sqlite://FILE, or postgres://user:password@host[,host]/name (default imcd.db in "+
			"state_dir)",
			func(r *raw) *string { return &r.DB.URL }),
		fileKey("db_url"),
		boolKey("spare", "1: of several imcd that share a Postgres this one takes rooms only if no other does",
			func(r *raw) *bool { return &r.Spare }),
		intKey("db_mode", "accepted for the module's sake, without effect: everything is always written at once", 0, 2,
			func(r *raw) *int { return &r.dbMode }),
		textKey("rooms_table", "table of the rooms", func(r *raw) *string { return &r.DB.RoomsTable }),
		textKey("members_table", "table of the members", func(r *raw) *string { return &r.DB.MembersTable }),
		intKey("hash_size", "power of two of the number of hash slots", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.HashSize }),
		textKey("imc_cmd_start_char", "character that begins a command",
			func(r *raw) *string { return &r.Engine.CmdStartChar }),
		textKey("outbound_proxy", "SIP URI that everything is sent to (default Kamailio itself)",
			func(r *raw) *string { return &r.outboundProxy }),
		textKey("extra_hdrs", "header lines added to everything sent",
			func(r *raw) *string { return &r.Engine.ExtraHeaders }),
		boolKey("create_on_join", "1: joining a room that does not exist creates it",
			func(r *raw) *bool { return &r.Engine.CreateOnJoin }),
		boolKey("check_on_create", "1: creating a room that exists does not join it",
			func(r *raw) *bool { return &r.Engine.CheckOnCreate }),
	}
}

func kamailioKeys() []key {
	return []key{
		{name: "evapi", usage: "host:port of Kamailio's evapi socket, several with commas between", set: setEvapi,
			get: evapiValue},
		secretKey("evapi_secret", "the engine's secret in imc.cfg (IMC_SECRET there)",
			func(r *raw) *string { return &r.evapiSecret }),
		fileKey("evapi_secret"),
		boolKey("lookup_domains", "1: other domains are looked up by imcd, and not by Kamailio's workers",
			func(r *raw) *bool { return &r.LookupDomains }),
		{name: "fanout", usage: "how copies leave Kamailio: auto, rpc, batch or sip", set: setFanout,
			get: func(r *raw) any { return r.fanout.String() }},
	}
}

func serviceKeys() []key {
	return []key{
		textKey("state_dir", "directory for imcd's own files", func(r *raw) *string { return &r.StateDir }),
		textKey("rpc_listen", "host:port of JSON-RPC in netstrings; empty: none",
			func(r *raw) *string { return &r.RPC.Listen }),
		intKey("rpc_max_connections", "connections to rpc_listen at a time", 1, 65536,
			func(r *raw) *int { return &r.RPC.MaxConns }),
		textKey("http_listen", "host:port of health, metrics and JSON-RPC over HTTP; empty: none",
			func(r *raw) *string { return &r.HTTP.Listen }),
		{name: "log_level", usage: "trace, debug, info, warn, error or disabled", set: setLevel,
			get: func(r *raw) any { return r.Log.Level.String() }},
		boolKey("log_requests", "1: a line in the log for each request and delivery, without what was said",
			func(r *raw) *bool { return &r.Engine.LogRequests }),
		choiceKey("log_format", "json, console, or auto: console on a terminal",
			func(r *raw) *string { return &r.Log.Format }, "auto", "json", "console"),
	}
}

func roomKeys() []key {
	return []key{
		choiceKey("owner_leave", "what the exit of a room's owner does: destroy, refuse or transfer",
			func(r *raw) *string { return &r.Engine.OwnerLeave }, "destroy", "refuse", "transfer"),
		intKey("forbidden_code", "final reply to what is not allowed: 403, 406, 480 or 603", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.ForbiddenCode }),
		intKey("success_code", "final reply to what was accepted: 200 or 202", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.SuccessCode }),
		textKey("message_format", "text messages as members see them",
			func(r *raw) *string { return &r.Engine.MessageFormat }),
		choiceKey("show_names", "what members are called: user (part of their address), display (name), both",
			func(r *raw) *string { return &r.Engine.ShowNames }, "user", "display", "both"),
		textKey("attachment_line",
			"what stands before a picture and the like of somebody without display name; empty: nothing",
			func(r *raw) *string { return &r.Engine.AttachmentLine }),
		intKey("typing_members", "who is typing is passed on in rooms of at most so many members; 0: never", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.TypingMembers }),
		durationKey("notice_repeat",
			"a notice about refused messages comes once in so long for a user and room; 0s: each time", 0, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.NoticeRepeat }),
		choiceKey("join_notices", "notices of joining and leaving: all, counted (together above 50 members), off",
			func(r *raw) *string { return &r.Engine.JoinNotices }, engine.JoinsAll, engine.JoinsCounted, engine.JoinsOff),
		durationKey("join_window", "counted: a room of more than 50 members gets one such notice in so long at most",
			time.Second, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.JoinWindow }),
		durationKey("delete_within", "how long after it was sent its sender can #delete a message; 0s: only admins can",
			0, 366*24*time.Hour, func(r *raw) *time.Duration { return &r.Engine.DeleteWithin }),
		{name: "notices", usage: "replacements for notices: a map of name and template", set: setNotices,
			get: func(*raw) any { return map[string]any{} }},
		intKey("list_bytes", "longest body of one part of a list", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.ListBytes }),
		intKey("max_members_per_room", "0: no limit", 0, math.MaxInt, func(r *raw) *int { return &r.Engine.MaxMembers }),
		intKey("auto_replies", "equal answers in a row after which a member is taken for a machine; 0: never", 0, 1000,
			func(r *raw) *int { return &r.Engine.AutoReplies }),
		intKey("max_rooms_per_user", "rooms that one user owns; 0: no limit", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.MaxRooms }),
		textKey("create_allow", `who makes rooms: a regular expression of their whole URIs, "operators", or empty for all`,
			func(r *raw) *string { return &r.Engine.CreateAllow }),
		textKey("service_admins", "URIs of users who may do in every room what its owner may, with commas; empty: nobody",
			func(r *raw) *string { return &r.Engine.ServiceAdmins }),
		choiceKey("foreign_users", "who of another domain may be a member: refuse, invited (or added), allow",
			func(r *raw) *string { return &r.Engine.ForeignUsers }, engine.ForeignRefuse,
			engine.ForeignInvited, engine.ForeignAllow),
		choiceKey("receipts",
			"sender: a client that speaks receipts learns when its message was delivered and displayed; off: none does",
			func(r *raw) *string { return &r.Engine.Receipts }, engine.ReceiptsSender, engine.ReceiptsOff),
		intKey("receipt_members", "such receipts are not sent in rooms with more members", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.ReceiptMembers }),
	}
}

// rateKeys limit how much may be sent in how long; above, 480 with Retry-After.
func rateKeys() []key {
	return []key{
		rateKey("rate_sender_messages", "messages of one user, as in 60/10s; empty: no limit",
			func(r *raw) *engine.Rate { return &r.Engine.RateSenderMessages }),
		rateKey("rate_sender_commands", "commands of one user",
			func(r *raw) *engine.Rate { return &r.Engine.RateSenderCommands }),
		rateKey("rate_room_messages", "messages in one room",
			func(r *raw) *engine.Rate { return &r.Engine.RateRoomMessages }),
		rateKey("rate_room_joins", "attempts to join one room", func(r *raw) *engine.Rate { return &r.Engine.RateRoomJoins }),
	}
}

func limitKeys() []key {
	return []key{
		intKey("mailbox_size", "requests that may wait in one hash slot; then 503", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.MailboxSize }),
		intKey("commit_queue", "changes that may wait for the database; then 503", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.CommitQueue }),
		durationKey("commit_timeout", "deadline of one try of a commit", time.Millisecond, time.Minute,
			func(r *raw) *time.Duration { return &r.Engine.CommitTimeout }),
		intKey("max_outstanding", "copies under way at a time that were sent just now", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.MaxOutstanding }),
		intKey("max_burst", "of these, those without an answer; 0: as many as fit Kamailio's sockets", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.MaxBurst }),
		intKey("member_window", "messages of a room under way to one member at a time; above 1 their order may change", 1, 16,
			func(r *raw) *int { return &r.Engine.MemberWindow }),
		durationKey("result_timeout", "a copy without an outcome is sent again after it", time.Millisecond, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.ResultTimeout }),
		intKey("room_log_entries", "what a room keeps in memory for slow members; the rest is in the database", 0,
			math.MaxInt,
			func(r *raw) *int { return &r.Engine.LogEntries }),
		intKey("room_log_bytes", "its bytes", 0, math.MaxInt, func(r *raw) *int { return &r.Engine.LogBytes }),
		intKey("total_log_bytes", "bytes of all that imcd holds of what people say; then 503", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.TotalBytes }),
		durationKey("max_delay", "how late messages may come because of the load; above, 503; 0s: no limit", 0, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.MaxDelay }),
		durationKey("retry_after", "what a 503 asks the client to wait", time.Second, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.RetryAfter }),
	}
}

func deliveryKeys() []key {
	return []key{
		choiceKey("durability", "commit: a 200 means that the message is in the database; memory: it will be in a moment",
			func(r *raw) *string { return &r.Engine.Durability }, engine.DurabilityCommit, engine.DurabilityMemory),
		durationKey("cursor_flush", "longest time for which a delivery is not noted in the database", time.Millisecond,
			time.Minute,
			func(r *raw) *time.Duration { return &r.Engine.CursorFlush }),
		durationKey("retry_min",
			"wait before a failed copy is sent again for the first time; doubled each time", time.Millisecond, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.RetryMin }),
		durationKey("retry_max", "longest wait before a failed copy is sent again", time.Millisecond, 24*time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.RetryMax }),
		durationKey("offline_retry", "the same for members that are not registered", time.Millisecond, 24*time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.OfflineRetry }),
		durationKey("sign_every",
			"a user who gives a sign of life is tried once in this time at most", time.Millisecond, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.SignEvery }),
		intKey("poison_tries",
			"a message that got no answer so often, though its user came back, is skipped; 0: never", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.PoisonTries }),
		durationKey("duplicate_window", "how long a request that comes again is recognised", time.Second, time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.DuplicateWindow }),
		intKey("history_on_join", "messages that are shown to who joins", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.HistoryOnJoin }),
		intKey("history_max", "messages that the command history shows at most", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.HistoryMax }),
		intKey("member_backlog", "messages owed to one member at most; 0: no limit", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.MemberBacklog }),
		intKey("room_messages", "messages kept per room; 0: no limit", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.RoomMessages }),
		intKey("room_bytes", "bytes of messages kept per room; 0: no limit", 0, math.MaxInt,
			func(r *raw) *int { return &r.Engine.RoomBytes }),
		durationKey("message_age", "how long messages are kept; 0s: no limit", 0, 100*365*24*time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.MessageAge }),
		intKey("devices_per_user", "devices of a user that imcd knows at most; 0: none", 0, 100,
			func(r *raw) *int { return &r.Engine.DevicesPerUser }),
		durationKey("device_keep", "a device that was not heard of for so long is forgotten", time.Minute,
			100*365*24*time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.DeviceKeep }),
		boolKey("own_devices", "1: what a user writes on one device comes to the user's others as well",
			func(r *raw) *bool { return &r.Engine.OwnDevices }),
	}
}

func setFanout(r *raw, v any) error {
	var s string
	err := setText(&s, v)
	if err == nil {
		r.fanout, err = evapi.ParseLane(s)
	}
	return err
}

func setLevel(r *raw, v any) error {
	var s string
	if err := setText(&s, v); err != nil {
		return err
	}
	level, err := zerolog.ParseLevel(strings.ToLower(s))
	if err != nil || s == "" {
		return fmt.Errorf("must be trace, debug, info, warn, error or disabled, is %q", s)
	}
	r.Log.Level = level
	return nil
}
