package contest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// repeated is how many copies imcd has sent again by SIP, because nothing answered in
// time; 0 for others.
func (s *System) repeated(ctx context.Context) (int64, error) {
	if s.stack == nil {
		return 0, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.stack.HTTPAddr()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("metrics of imcd: %w", err)
	}
	defer res.Body.Close()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(res.Body)
	if err != nil {
		return 0, fmt.Errorf("metrics of imcd: %w", err)
	}
	sum := 0.0
	for _, m := range families["imc_evapi_sip_repeated_total"].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return int64(sum), nil
}
