package schema

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// hostList are the servers that a db_url names between @ and /, if there are several:
// host:port,host:port as in libpq. Neither net/url nor lib/pq knows that form.
type hostList []struct{ host, port string }

// defaultPort is that of a host without one, if others have theirs.
const defaultPort = "5432"

// endOfHosts is where they end in a URL without its scheme.
func endOfHosts(rest string) int {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return i
	}
	return len(rest)
}

// readHosts returns nothing if text is no list.
func readHosts(text string) (hostList, error) {
	if !strings.Contains(text, ",") {
		return nil, nil
	}
	var list hostList
	for item := range strings.SplitSeq(text, ",") {
		host, port, err := net.SplitHostPort(item)
		if err != nil { // without a port
			host, port, err = net.SplitHostPort(item + ":")
		}
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || port != "" && bad != nil {
			return nil, errors.New("a list of hosts has the form host:port,host:port")
		}
		list = append(list, struct{ host, port string }{host, port})
	}
	return list, nil
}

// into adds the list to the options of a URL, in the form that lib/pq knows.
func (list hostList) into(options url.Values) error {
	if len(list) == 0 {
		return nil
	}
	if options.Has("host") || options.Has("hostaddr") || options.Has("port") {
		return errURL("hosts are named twice, before and behind the question mark")
	}
	var hosts, ports []string
	own := false
	for _, h := range list {
		hosts = append(hosts, h.host)
		if own = own || h.port != ""; h.port == "" {
			h.port = defaultPort
		}
		ports = append(ports, h.port)
	}
	options.Set("host", strings.Join(hosts, ","))
	if own {
		options.Set("port", strings.Join(ports, ","))
	}
	return nil
}
