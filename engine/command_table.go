package engine

// commandTable is the command language.
func commandTable() []*command {
	return []*command{
		{[]string{"create"}, "[room] [private]", "make a room", -30, 0, 2, 0, 0, needNobody, runCreate},
		{[]string{"join"}, "[room] [key]", "enter a room", -40, 0, 2, 0, 0, needNobody, runJoin},
		{[]string{"invite"}, "user [room]", "ask somebody in", -50, 1, 2, 1, 0, needInviter, runInvite},
		{[]string{"add"}, "user [room]", "bring somebody in at once", -50, 1, 2, 1, 0, needInviter, runAdd},
		{[]string{"accept"}, "[room]", "follow an invitation", -60, 0, 1, 0, 0, needInvited, runAccept},
		{[]string{"deny", "reject"}, "[room]", "decline it", -70, 0, 1, 0, 0, needInvited, runDeny},
		{[]string{"remove"}, "user [room]", "put somebody out", -80, 1, 2, 1, 0, needAdmin, runRemove},
		{[]string{"exit", "leave"}, "[room]", "leave the room", -90, 0, 1, 0, 0, needMember, runExit},
		{[]string{"list", "members"}, "[room]", "who is here", -100, 0, 1, 0, 0, needLook, runList},
		{[]string{"history"}, "[n]", "what was said last", -140, 0, 1, noRoomArg, 0, needMember, runHistory},
		{[]string{"seen"}, "[n]", "who has read the last message", -150, 0, 1, noRoomArg, 0, needMember, runSeen},
		{[]string{"delete"}, "n", "take a message back", -210, 1, 1, noRoomArg, 0, needLook, runDelete},
		{[]string{"rooms"}, "", "which rooms there are", -100, 0, 0, noRoom, 0, needNobody, nil},
		{[]string{"destroy"}, "[room]", "end the room", -110, 0, 1, 0, 0, needOwner, runDestroy},
		{[]string{"modify"}, "user owner|admin|member [room]", "change a role", -120, 2, 3, 2, 0, needAdmin, runModify},
		{[]string{"topic"}, "[text]", "what the room is about", -160, 0, 999, noRoomArg, 1, needLook, runTopic},
		{[]string{"set"}, "[name] [value]", "the room's settings", -160, 0, 999, noRoomArg, 2, needLook, runSet},
		{[]string{"mute"}, "user [time] [why]", "let somebody not write", -170, 1, 999, noRoomArg, 2, needAdmin, runMute},
		{[]string{"unmute"}, "user", "let somebody write again", -170, 1, 1, noRoomArg, 0, needAdmin, runUnmute},
		{[]string{"ban"}, "user [time] [why]", "put somebody out for good", -180, 1, 999, noRoomArg, 2, needAdmin, runBan},
		{[]string{"unban"}, "user", "lift a ban", -180, 1, 1, noRoomArg, 0, needAdmin, runUnban},
		{[]string{"bans"}, "", "who is banned", -180, 0, 0, noRoomArg, 0, needAdmin, runBans},
		{[]string{"voice"}, "user", "let somebody write while moderated", -190, 1, 1, noRoomArg, 0, needAdmin, runVoice},
		{[]string{"unvoice"}, "user", "take that back", -190, 1, 1, noRoomArg, 0, needAdmin, runUnvoice},
		{[]string{"warn"}, "user text", "warn somebody", -190, 2, 999, noRoomArg, 2, needAdmin, runWarn},
		{[]string{"help"}, "[command]", "this list, or more of one", -120, 0, 99, noRoom, 0, needNobody, runHelp},
	}
}

func newLanguage() language {
	l := language{commandTable(), make(map[string]*command)}
	for _, c := range l.commands {
		for _, name := range c.names {
			l.byName[name] = c
		}
	}
	return l
}
