package engine

import (
	"strconv"
	"strings"
	"testing"

	"imcd/engine/store"
)

func TestHashIsKamailios(t *testing.T) {
	ask := kamailioThatSays(t, `
	$var(key) = $(rU{s.tolower}) + "@" + $(rd{s.tolower});
	sl_send_reply("200", "$(var(key){s.corehash})");
`)
	for _, user := range []string{"a", "ab", "abc", "abcd", "chat-1", "Chat-Room.22", strings.Repeat("xyz", 20)} {
		reason := ask("sip:" + user + "@Example.org")
		h := store.Hash(store.Name{User: user, Host: "Example.org"}.Key())
		if want := strconv.FormatUint(uint64(h), 10); reason != want {
			t.Errorf("%s: Kamailio's corehash is %q, ours %s", user, reason, want)
		}
	}
}
