package srt

import "testing"

func TestCheck(t *testing.T) {
	type step struct {
		sequence uint32
		verdict  Verdict
		missing  uint32
	}
	const last = uint32(MaxSequence)
	tests := []struct {
		name  string
		isn   uint32
		steps []step
	}{
		{"in order", 5, []step{{5, InOrder, 0}, {6, InOrder, 0}, {7, InOrder, 0}}},
		{"loss at the beginning", 5, []step{{7, Gap, 2}, {8, InOrder, 0}}},
		{"loss", 5, []step{{5, InOrder, 0}, {9, Gap, 3}, {10, InOrder, 0}}},
		{"late", 5, []step{{5, InOrder, 0}, {8, Gap, 2}, {6, Reordered, 0}, {7, Reordered, 0}, {9, InOrder, 0}}},
		{"twice", 5, []step{{5, InOrder, 0}, {5, Duplicated, 0}, {6, InOrder, 0}, {5, Duplicated, 0}}},
		{"late twice", 5, []step{{6, Gap, 1}, {5, Reordered, 0}, {5, Duplicated, 0}}},
		{"before the first", 5, []step{{4, Duplicated, 0}, {5, InOrder, 0}}},
		{"wrap", last - 1, []step{{last - 1, InOrder, 0}, {last, InOrder, 0}, {0, InOrder, 0}, {1, InOrder, 0}}},
		{"loss over the wrap", last - 1, []step{{last - 1, InOrder, 0}, {2, Gap, 3}, {last, Reordered, 0}, {0, Reordered, 0}, {1, Reordered, 0}, {0, Duplicated, 0}}},
		{"window's edge", 0, []step{{63, Gap, 63}, {0, Reordered, 0}, {64, InOrder, 0}, {1, Reordered, 0}, {0, Stale, 0}}},
		{"gap of 63", 0, []step{{0, InOrder, 0}, {64, Gap, 63}, {1, Reordered, 0}, {0, Stale, 0}}},
		{"gap of 64", 0, []step{{0, InOrder, 0}, {65, Gap, 64}, {2, Reordered, 0}, {1, Stale, 0}}},
		{"great gap", 0, []step{{0, InOrder, 0}, {100000, Gap, 99999}, {99999, Reordered, 0}}},
		{"far back", 1000, []step{{1000, InOrder, 0}, {900, Stale, 0}, {1001, InOrder, 0}}},
	}
	for _, tt := range tests {
		c := NewCheck(tt.isn)
		for i, s := range tt.steps {
			v, missing := c.See(s.sequence)
			if v != s.verdict || missing != s.missing {
				t.Errorf("%s, step %d: %d is %d with %d missing, want %d with %d", tt.name, i, s.sequence, v, missing, s.verdict, s.missing)
			}
		}
	}
}

func TestCheckNext(t *testing.T) {
	c := NewCheck(MaxSequence)
	c.See(MaxSequence)
	if c.Next() != 0 {
		t.Errorf("next after the last number is %d", c.Next())
	}
	c.See(4)
	c.See(2)
	if c.Next() != 5 {
		t.Errorf("next is %d", c.Next())
	}
}
