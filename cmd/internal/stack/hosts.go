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
	uris := make([]string, n)
	for i, port := range ports {
		uris[i] = fmt.Sprint("sip:127.0.0.1:", port)
	}
	hosts := make([]evapitest.Options, n)
	for i, port := range ports {
		hosts[i] = evapitest.Options{SIPPort: port, Config: config,
			IMCLocal: fmt.Sprintf("#!define IMC_PEERS \"^127[.]0[.]0[.]1$\"\n#!define IMC_PEER_URIS %q\n"+
				"#!define IMC_PEER_SECRET \"between-us\"\nloadmodule \"dmq.so\"\nloadmodule \"dmq_usrloc.so\"\n"+
				"modparam(\"dmq\", \"server_address\", %q)\nmodparam(\"dmq\", \"notification_address\", %q)\n"+
				"modparam(\"dmq_usrloc\", \"enable\", 1)\nmodparam(\"dmq_usrloc\", \"sync\", 1)\n"+
				"modparam(\"usrloc\", \"preload\", \"location\")\n",
				strings.Join(uris, " "), uris[i], uris[(i+1)%n])}
	}
	return hosts, nil
}
