package schema

import "testing"

func TestValidate(t *testing.T) {
	const segment = `{"t_ns":5,"type":"segment","dir":"rx","flags":["FIN","ACK"],"seq":1,"ack":2,"window":3,"len":0,"step":"fin","retransmit":true}`
	tests := []struct {
		name, line string
		ok         bool
	}{
		{"addendum", `{"schema":"tcptrace.addendum/1","id":"7","timeline":[` + segment + `]}`, true},
		{"a field that is not known yet", `{"schema":"tcptrace.addendum/1","id":"7","timeline":[],"later":1}`, true},
		{"number for an ID", `{"schema":"tcptrace.addendum/1","id":7,"timeline":[]}`, false},
		{"no timeline", `{"schema":"tcptrace.addendum/1","id":"7"}`, false},
		{"a timeline without its fields", `{"schema":"tcptrace.timeline/1","id":"7","timeline":[]}`, false},
		{"unknown schema", `{"schema":"tcptrace.timeline/9","id":"7","timeline":[]}`, false},
		{"unknown type of entry", `{"schema":"tcptrace.addendum/1","id":"7","timeline":[{"t_ns":5,"type":"x"}]}`, false},
		{"segment without flags", `{"schema":"tcptrace.addendum/1","id":"7","timeline":[{"t_ns":5,"type":"segment"}]}`, false},
		{"wrong flag", `{"schema":"tcptrace.addendum/1","id":"7","timeline":[{"t_ns":5,"type":"segment","dir":"rx","flags":["NOP"],"seq":1,"ack":2,"window":3,"len":0,"retransmit":true}]}`, false},
		{"half a line", `{"schema":`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Validate([]byte(tt.line)); (err == nil) != tt.ok {
				t.Errorf("Validate(%s) = %v", tt.line, err)
			}
		})
	}
}
