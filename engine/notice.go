package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// sayIt ends notices about a text that was taken for a command.
const sayIt = " To say it to the room, begin with {cmd}{cmd}."

// defaultNotices are what rooms say, by the names under which the configuration
// can replace them. Never changed. {user} is whom it is about, {by} who did it, {room} the
// room, {role} a role, {cmd} the command character, {command} the typed word,
// {usage} how to type it, {why} a reason, {n} and {of} count parts or members,
// {read} and {names} are who has read something; {members} and {rooms} are a number of
// them in words, {setting} and {value} are a setting of the room, {until} is when something
// ends.
var defaultNotices = map[string]string{
	"created":         "*** Room {room} created. You are its owner; {cmd}help lists the commands.",
	"created_private": "*** Private room {room} created. You are its owner; {cmd}invite brings people in.",
	"exists":          "*** Room {room} exists already.",
	"exists_private":  "*** Room {room} exists already and is private.",
	"already_member":  "*** You are in room {room} already.",
	"joined":          "*** {user} has joined the room.",
	"many_joined":     "*** {names} have joined the room.",
	"you_joined":      "*** You are in {room} now ({members}). {cmd}help lists the commands.",
	"you_added":       "*** {by} has added you to {room} ({members}). {cmd}help lists the commands, {cmd}leave leaves.",
	"added_offline":   "*** {user} is not registered now and will get the messages later.",
	"left":            "*** {user} has left the room.",
	"many_left":       "*** {names} have left the room.",
	"names_and":       "{names} and {user}",
	"one_other":       "1 other",
	"many_other":      "{count} others",
	"you_left":        "*** You have left room {room}.",
	"removed":         "*** {user} was removed from the room by {by}.",
	"you_removed":     "*** You were removed from room {room} by {by}.",
	"by_invitation":   "*** Room {room} is private: you need an invitation. Its owner knows that you asked.",
	"join_attempt":    "*** {user} wanted to join this private room. To let them in, send {cmd}invite {uri}",
	"invitation":      "*** {by} invites you to room {room}. Answer {cmd}accept or {cmd}deny.",
	"invited":         "*** {user} has been invited.",
	"already_invited": "*** {user} is invited already and has not answered yet.",
	"is_member":       "*** {user} is in the room already.",
	"operator":        "operator",
	"invite_waits":    "*** {user} is offline and will get your invitation to room {room}.",
	"not_registered":  "*** {user} does not take the invitation to room {room}; it is withdrawn.",
	"denied":          "*** {user} declined the invitation to room {room}.",
	"you_denied":      "*** You declined the invitation to room {room}.",
	"destroyed":       "*** Room {room} was destroyed by {by}.",
	"role_changed":    "*** {user} is now {role}.",
	"new_owner":       "*** {user} has left; {by} is now the owner.",
	"no_room":         "*** There is no room {room}.",
	"not_member":      "*** You are not in room {room}. Send {cmd}join to enter it.",
	"only_invited":    "*** You are invited to room {room} but not in it yet: answer {cmd}accept or {cmd}deny.",
	"not_invited":     "*** You have no invitation to room {room}.",
	"need_admin":      "*** Only an owner or admin of room {room} can do that.",
	"need_owner":      "*** Only an owner of room {room} can do that.",
	"owner_protected": "*** {user} owns room {room} and cannot be removed.",
	"owner_stays":     "*** You own room {room} and cannot leave it: {cmd}destroy it, or make somebody else owner first.",
	"last_owner":      "*** {user} is the only owner of room {room}: make somebody else owner first.",
	"user_not_member": "*** {user} is not in room {room}.",
	"room_full":       "*** Room {room} is full.",
	"foreign_denied":  "*** {user} is of another domain, whose users cannot be members here.",
	"create_denied":   "*** There is no room {room}, and you may not make one here.",
	"too_many_rooms":  "*** You own as many rooms as you may ({n}): {cmd}destroy one first.",
	"user_rooms":      "*** {user} owns as many rooms as is possible ({n}).",
	"too_fast":        "*** That is too fast: your messages go to nobody for the next {n} s.",
	"many_commands":   "*** Those were too many commands. Please wait {n} s.",
	"room_too_fast": "*** Too much is said in room {room} just now, and your message went to nobody. " +
		"Please wait {n} s.",
	"room_joins":       "*** Too many want to join room {room} just now. Please try again in {n} s.",
	"bad_arguments":    "*** {why}. Usage: {usage}",
	"bad_command":      "*** That is no command: {why}. Send {cmd}help for help." + sayIt,
	"unknown_command":  "*** Unknown command '{command}'. Send {cmd}help for help." + sayIt,
	"did_you_mean":     "*** Unknown command '{command}'. Did you mean {usage}?" + sayIt,
	"empty_message":    "*** The message was empty and went to nobody.",
	"bad_message":      "*** The message cannot be passed on: {why}.",
	"too_large":        "*** Your message is too long and went to nobody: {why}.",
	"not_stored":       "*** That cannot be stored. Something in it is not what the chat service can keep.",
	"unavailable":      "*** The chat service cannot take that now. Please try again in a moment.",
	"members_header":   "{members}:",
	"members_header_n": "{members} ({n}/{of}):",
	"one_member":       "1 member",
	"many_member":      "{count} members",
	"owner":            "owner",
	"admin":            "admin",
	"member":           "member",
	"offline":          "offline",
	"rooms_header":     "{rooms}:",
	"rooms_header_n":   "{rooms} ({n}/{of}):",
	"one_room":         "1 room",
	"many_room":        "{count} rooms",
	"private":          "private",
	"inside":           "joined",
	"missed":           "*** {n} messages of this room were dropped before they reached you.",
	"one_missed":       "*** 1 message of this room was dropped before it reached you.",
	"not_shown":        "*** {n} messages could not be shown by your phone.",
	"one_not_shown":    "*** 1 message could not be shown by your phone.",
	"history_header":   "Last messages, times in UTC:",
	"history_header_n": "Last messages, times in UTC ({n}/{of}):",
	"history":          "{n} {time} [{user}]: {body}",
	"image":            "picture",
	"audio":            "sound",
	"video":            "video",
	"file":             "file",
	"reading":          "*** Your last question is not answered yet. Please wait a moment.",
	"history_none":     "*** Nothing has been said in room {room} yet.",
	"seen":             "*** {time}, {user}: delivered to {n} of {of}, read by {read}",
	"seen_last":        "*** Last message, by {user}: delivered to {n} of {of}, read by {read}",
	"seen_own":         "*** Your last message: delivered to {n} of {of}, read by {read}",
	"seen_by":          "{n}: {names}",
	"seen_nobody":      "nobody yet",
	"rooms_none":       "*** There are no rooms that you could join.",
	"help_header":      "Commands ({cmd}help invite tells more of one):",
	"help_header_n":    "Commands ({n}/{of}):",

	"topic":             "*** Topic: {value}",
	"topic_none":        "*** Room {room} has no topic.",
	"topic_set":         "*** {by} has set the topic: {value}",
	"setting":           "*** {setting}: {value}",
	"setting_set":       "*** {by} has set {setting} to {value}.",
	"settings_header":   "Settings of {room} ({cmd}help set explains them):",
	"settings_header_n": "Settings of {room} ({n}/{of}):",
	"set_help":          "Settings ({cmd}set name value changes one, default takes it back):",
	"set_help_n":        "Settings ({n}/{of}):",

	"until":           " until {time} UTC",
	"because":         " Reason: {why}",
	"muted":           "*** {user} was muted by {by}{until}.",
	"you_muted":       "*** {by} has muted you in room {room}{until}: you read what is said and cannot write.",
	"unmuted":         "*** {user} may write again.",
	"you_unmuted":     "*** You may write in room {room} again.",
	"not_muted":       "*** {user} is not muted.",
	"mute":            "*** You are muted in room {room}{until}, and your message went to nobody.",
	"moderated":       "*** Room {room} is moderated: who has no voice there cannot write. Your message went to nobody.",
	"voiced":          "*** {user} has a voice now.",
	"unvoiced":        "*** {user} has no voice any more.",
	"no_voice":        "*** {user} has no voice.",
	"voice":           "voice",
	"is_muted":        "muted",
	"banned":          "*** {user} was banned from the room by {by}{until}.",
	"you_banned":      "*** You were banned from room {room} by {by}{until}.",
	"ban":             "*** You are banned from room {room}{until}.",
	"user_banned":     "*** {user} is banned from room {room}{until}: {cmd}unban first.",
	"unbanned":        "*** {user} is not banned any more.",
	"not_banned":      "*** {user} is not banned from room {room}.",
	"bans_none":       "*** Nobody is banned from room {room}.",
	"bans_header":     "Banned:",
	"bans_header_n":   "Banned ({n}/{of}):",
	"you_warned":      "*** {by} warns you in room {room}: {why}",
	"warned":          "*** {user} was warned.",
	"owner_moderated": "*** {user} owns room {room}, and cannot be moderated.",
	"idle_warned":     "*** Nothing is said in room {room} any more. It ends {time} UTC unless somebody writes.",
	"idle_ended":      "*** Room {room} has ended: nothing was said there for a long time.",
	"need_key":        "*** Room {room} has a key: send {cmd}join {room} KEY.",
	"wrong_key":       "*** That is not the key of room {room}.",
	"deleted":         "*** {by} has deleted message {n}, of {user}, {time} UTC.",
	"deleted_own":     "*** {user} has taken message {n} back, {time} UTC.",
	"delete_late":     "*** Message {n} is too old: you can delete what you wrote for {time}.",
	"no_message":      "*** There is no message {n} in room {room}; {cmd}history shows the numbers.",
	"many_rules":      "*** In room {room} there are {n} bans, mutes and voices already: take some back first.",
}

// vars are the values for a template's placeholders.
type vars map[string]string

// placeholders that a notice may use.
var noticeWords = []string{"user", "uri", "by", "room", "role", "cmd", "command", "usage", "why", "n", "of", "time",
	"read", "names", "members", "rooms", "count", "setting", "value", "until"}

// notices hold the templates in force; immutable.
type notices struct{ text map[string]string }

// DefaultNotices returns a copy of the built-in templates by name.
func DefaultNotices() map[string]string {
	m := make(map[string]string, len(defaultNotices))
	for k, v := range defaultNotices {
		m[k] = v
	}
	return m
}

// newNotices puts the operator's templates over the defaults.
func newNotices(custom map[string]string) (notices, error) {
	n := notices{DefaultNotices()}
	for name, text := range custom {
		if _, ok := n.text[name]; !ok {
			return notices{}, fmt.Errorf("notices.%s: there is no such notice", name)
		}
		if err := checkTemplate(text, noticeWords...); err != nil {
			return notices{}, fmt.Errorf("notices.%s: %w", name, err)
		}
		n.text[name] = text
		if one := ofOne + name; n.text[one] != "" && custom[one] == "" {
			n.text[one] = text // it knows {n} only
		}
	}
	return n, nil
}

// ofOne begins the name of the notice that speaks of one thing instead of {n}.
const ofOne = "one_"

// ofMany is format for a notice about n things.
func (n notices) ofMany(name string, many uint64, v vars) string {
	words := vars{"n": strconv.FormatUint(many, 10)}
	maps.Copy(words, v)
	if many == 1 {
		name = ofOne + name
	}
	return n.format(name, words)
}

func (n notices) format(name string, v vars) string {
	return expand(n.text[name], func(word string) string { return v[word] })
}

// checkTemplate reports a placeholder that is not one of words or body.
func checkTemplate(text string, words ...string) error {
	var bad string
	expand(text, func(word string) string {
		if word != "body" && !slices.Contains(words, word) {
			bad = word
		}
		return ""
	})
	if bad != "" {
		return fmt.Errorf("unknown placeholder {%s}; there are {%s}", bad, strings.Join(words, "}, {"))
	}
	return nil
}

// expand replaces each {word} of lower-case letters by value(word). Other
// braces stand for themselves.
func expand(text string, value func(word string) string) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			break
		}
		end := strings.IndexByte(text[open:], '}')
		if end < 0 {
			break
		}
		word := text[open+1 : open+end]
		b.WriteString(text[:open])
		if onlyOf(word, "abcdefghijklmnopqrstuvwxyz") && word != "" {
			b.WriteString(value(word))
		} else {
			b.WriteString(text[open : open+end+1])
		}
		text = text[open+end+1:]
	}
	b.WriteString(text)
	return b.String()
}
