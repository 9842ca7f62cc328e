package metrics

// Spans counts what became of spans. There are series of it from the first
// span on: without tracing there is none.
func (m *Metrics) Spans(exported, dropped int) {
	m.spans.WithLabelValues("exported").Add(float64(exported))
	m.spans.WithLabelValues("dropped").Add(float64(dropped))
}
