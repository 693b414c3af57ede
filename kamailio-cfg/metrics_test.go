package kamailiocfg_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// expression is one question to Prometheus and where it stands.
type expression struct{ at, text string }

// TestMetricsAreThere: the dashboard and the alert rules ask for nothing that a
// real imcd does not show.
func TestMetricsAreThere(t *testing.T) {
	shown := shownMetrics(t)
	checkExplained(t, shown)
	asked := slices.Concat(dashboardExpressions(t), alertExpressions(t))
	if len(asked) < 30 {
		t.Fatalf("only %d expressions were found", len(asked))
	}
	used := make(map[string]bool)
	for _, e := range asked {
		for _, name := range checkExpression(t, e, shown) {
			used[name] = true
		}
	}
	// Without these a dashboard would be no use.
	for _, name := range []string{"imc_active_rooms", "imc_messages_total", "imc_deliveries_total", "imc_evapi_up",
		"imc_database_up"} {
		if !used[name] {
			t.Errorf("nobody asks for %s", name)
		}
	}
}

// A test of the test: it notices what it is there for.
func TestMetricsCheck(t *testing.T) {
	shown := map[string]map[string]bool{"imc_x_total": {"result": true, "instance": true}}
	for text, good := range map[string]bool{
		`rate(imc_x_total{result="ok"}[5m])`:           true,
		`sum by (result) (rate(imc_x_total[5m]))`:      true,
		`rate(imc_y_total[5m])`:                        false,
		`rate(imc_x_total{command="ok"}[5m])`:          false,
		`sum by (command) (rate(imc_x_total[5m]))`:     false,
		`rate(imc_x_total[5m]`:                         false,
		`sum(imc_x_total) / sum(imc_y_total)`:          false,
		`sum by (instance) (imc_x_total{job="imcd"})`:  true,
		`max by (job) (imc_x_total{job="imcd"}) > 1`:   true,
		`histogram_quantile(0.9, imc_x_total_bucket)`:  false,
		`increase(imc_x_total{kamailio="a"}[1h]) > 10`: false,
	} {
		if _, wrong := examine(text, shown); (wrong == "") != good {
			t.Errorf("%s: %q", text, wrong)
		}
	}
}

func checkExpression(t *testing.T, e expression, shown map[string]map[string]bool) []string {
	t.Helper()
	names, wrong := examine(e.text, shown)
	if wrong != "" {
		t.Errorf("%s: %s\n%s", e.at, wrong, e.text)
	}
	return names
}

// examine parses an expression and compares what it asks for with what there is:
// metrics and their labels. It returns the metrics, and what is wrong.
func examine(text string, shown map[string]map[string]bool) (names []string, wrong string) {
	expr, err := parser.ParseExpr(text)
	if err != nil {
		return nil, err.Error()
	}
	known := map[string]bool{"job": true} // Prometheus' own
	var grouped []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			names = append(names, n.Name)
			has, ok := shown[n.Name]
			if !ok {
				wrong = "imcd shows no " + n.Name
				return nil
			}
			maps.Copy(known, has)
			for _, m := range n.LabelMatchers {
				if m.Name != labels.MetricName && m.Name != "job" && !has[m.Name] {
					wrong = n.Name + " has no label " + m.Name
				}
			}
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		}
		return nil
	})
	for _, label := range grouped {
		if wrong == "" && !known[label] {
			wrong = "no label " + label
		}
	}
	return names, wrong
}

// shownMetrics are the metrics of an imcd that has had something to do, each
// with the labels that Prometheus sees.
func shownMetrics(t *testing.T) map[string]map[string]bool {
	c := startChat(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...)}, [2]string{})
	const room = "sip:chat-1@chat.test"
	expect(t, say(t, c.alice, room, "#create"), 200)
	expect(t, say(t, c.bob, room, "#join"), 200)
	c.says(t, c.alice, c.bob, "hello")
	if err := c.bob.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, say(t, c.alice, room, "are you gone?"), 200)
	shown := map[string]map[string]bool{"up": {"instance": true}} // Prometheus' own
	// The outcome of what bob does not get is not known at once.
	for ctx := kit.Context(t); shown["imc_put_off_total"] == nil; {
		if ctx.Err() != nil {
			t.Fatal("imc_put_off_total did not appear")
		}
		for _, family := range scrape(t, c.imcd.HTTPAddr()) {
			addFamily(shown, family)
		}
	}
	return shown
}

func scrape(t *testing.T, addr string) map[string]*dto.MetricFamily {
	t.Helper()
	req, err := http.NewRequestWithContext(kit.Context(t), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func addFamily(shown map[string]map[string]bool, family *dto.MetricFamily) {
	has := map[string]bool{"instance": true}
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			has[l.GetName()] = true
		}
	}
	shown[family.GetName()] = has
	if family.GetType() != dto.MetricType_HISTOGRAM {
		return
	}
	shown[family.GetName()+"_sum"], shown[family.GetName()+"_count"] = has, has
	bucket := maps.Clone(has)
	bucket["le"] = true
	shown[family.GetName()+"_bucket"] = bucket
}

// dashboard is what Grafana reads of the file.
type dashboard struct {
	Title  string `json:"title"`
	Panels []struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		Type    string `json:"type"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name string `json:"name"`
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
}

// grafanaVariable is what Grafana fills in before it asks.
var grafanaVariable = regexp.MustCompile(`\$(__rate_interval|job|instance)\b`)

func dashboardExpressions(t *testing.T) (all []expression) {
	t.Helper()
	text, err := os.ReadFile("grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	add := func(at, expr string) {
		expr = grafanaVariable.ReplaceAllString(strings.ReplaceAll(expr, "$__rate_interval", "5m"), "imcd")
		if strings.Contains(expr, "$") {
			t.Errorf("%s: a variable that there is not: %s", at, expr)
		}
		all = append(all, expression{"dashboard, " + at, expr})
	}
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || (p.Type != "row" && len(p.Targets) == 0) {
			t.Errorf("panel %d %q shows nothing or is there twice", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			add(p.Title, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		add(a.Name, a.Expr)
	}
	for _, v := range d.Templating.List {
		if inner, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			metric, _, _ := strings.Cut(inner, ", ")
			add("variable "+v.Name, metric)
		}
	}
	return all
}

// rules is a rule file of Prometheus.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func alertExpressions(t *testing.T) (all []expression) {
	t.Helper()
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file rules
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.For != "" {
				if _, err := model.ParseDuration(r.For); err != nil {
					t.Errorf("%s: for: %v", r.Alert, err)
				}
			}
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" ||
				r.Annotations["description"] == "" {
				t.Errorf("rule %+v lacks its name, severity, summary or description", r)
			}
			all = append(all, expression{"alert " + r.Alert, r.Expr})
		}
	}
	return all
}
