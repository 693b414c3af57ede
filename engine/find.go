package engine

import (
	"context"
	"slices"
	"strings"
)

// MaxFound bounds what FindRooms returns.
const MaxFound = 20

// FindRooms lists the rooms that somebody may mean by a name without a domain, by
// name, at most MaxFound: those whose user part it is, and only if there is none,
// those whose user part ends with "-" and the name ("garden" is chat-garden).
// A leading "sip:" and a domain are taken as part of what is meant. Case does not
// matter. None is no error.
func (e *Engine) FindRooms(ctx context.Context, name string) ([]string, error) {
	name, _ = cutScheme(name)
	name = strings.ToLower(name)
	if name == "" {
		return []string{}, nil
	}
	_, _, full := strings.Cut(name, "@")
	found, err := gather(ctx, e, func(s *shard) []foundRoom {
		var near []foundRoom
		for _, r := range s.rooms {
			at := r.name.Key()
			if !full {
				at, _, _ = strings.Cut(at, "@")
			}
			if at == name || strings.HasSuffix(at, "-"+name) {
				near = append(near, foundRoom{uri: r.name.URI(), exact: at == name})
			}
		}
		return near
	})
	if err != nil {
		return nil, err
	}
	exact := slices.ContainsFunc(found, func(f foundRoom) bool { return f.exact })
	uris := []string{}
	for _, f := range found {
		if f.exact == exact {
			uris = append(uris, f.uri)
		}
	}
	slices.Sort(uris)
	return uris[:min(len(uris), MaxFound)], nil
}

// foundRoom is a room that a name may mean.
type foundRoom struct {
	uri   string
	exact bool // the name is its user part, not only the end of it
}
