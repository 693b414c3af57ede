package engine

import "strings"

// otherWords are the names of commands in other chats.
func otherWords() map[string]string {
	return map[string]string{"quit": "leave", "part": "leave", "who": "list", "names": "list", "kick": "remove"}
}

const (
	longWord   = 6  // letters from which on two mistakes may be in a word
	prefixWord = 3  // letters by which a command is known, and above which more may follow it
	mostTyped  = 32 // longer words are not compared
)

// nearest is the name of the command that somebody may have meant by an unknown word;
// empty if none is near.
func (l language) nearest(word string) string {
	word = strings.ToLower(word)
	if len(word) > mostTyped {
		return ""
	}
	if other := otherWords()[word]; other != "" {
		return other
	}
	best, least := "", 1
	if len(word) >= longWord {
		least = 2
	}
	for _, c := range l.commands {
		for _, name := range c.names {
			d := distance(word, name)
			if len(word) >= prefixWord && (strings.HasPrefix(name, word) ||
				len(name) > prefixWord && strings.HasPrefix(word, name)) {
				d = min(d, 1)
			}
			if d <= least && (best == "" || d < least) {
				best, least = name, d
			}
		}
	}
	return best
}

// distance is how many mistakes are between two words: letters left out, added,
// replaced, or exchanged with the next one.
func distance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			d := row[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			next[j+1] = d
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
