package stack

import (
	"errors"
	"fmt"
	"strings"

	"imcd/evapi/evapitest"
	kamailiocfg "imcd/kamailio-cfg"
)

// Hosts returns the configurations of n Kamailios, as of n hosts, that pass requests on to each other and share
// registrations.
func Hosts(n int) ([]evapitest.Options, error) {
	ports, err := evapitest.FreePorts(n)
	if err != nil {
		return nil, err
	}
	const begin = "request_route {\n"
	config := kamailiocfg.File(kamailiocfg.Demo)
	if !strings.Contains(config, begin) {
		return nil, errors.New("demo.cfg has no request_route")
	}
	config = strings.Replace(config, begin, begin+
		"\tif (is_method(\"KDMQ\")) {\n\t\tdmq_handle_message();\n\t\texit;\n\t}\n", 1)
	uris, peers := peerURIs(ports), Peers(ports)
	hosts := make([]evapitest.Options, n)
	for i, port := range ports {
		hosts[i] = evapitest.Options{SIPPort: port, Config: config,
			IMCLocal: peers + fmt.Sprintf("loadmodule \"dmq.so\"\nloadmodule \"dmq_usrloc.so\"\n"+
				"modparam(\"dmq\", \"server_address\", %q)\nmodparam(\"dmq\", \"notification_address\", %q)\n"+
				"modparam(\"dmq_usrloc\", \"enable\", 1)\nmodparam(\"dmq_usrloc\", \"sync\", 1)\n"+
				"modparam(\"usrloc\", \"preload\", \"location\")\n",
				uris[i], uris[(i+1)%n])}
	}
	return hosts, nil
}

// Peers returns the lines for imc-local.cfg of each of several Kamailios that pass requests for rooms on to each other.
// ports are those at which they take SIP.
func Peers(ports []int) string {
	return fmt.Sprintf("#!define IMC_PEERS \"^127[.]0[.]0[.]1$\"\n#!define IMC_PEER_URIS %q\n"+
		"#!define IMC_PEER_SECRET \"between-us\"\n", strings.Join(peerURIs(ports), " "))
}

func peerURIs(ports []int) (uris []string) {
	for _, port := range ports {
		uris = append(uris, fmt.Sprint("sip:127.0.0.1:", port))
	}
	return uris
}
