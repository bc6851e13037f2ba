package kernelpath

import "testing"

// A process that goes on after a crash learns which sessions the program still relays, and
// deletes the entries of all others.
func TestSurveyAndPrune(t *testing.T) {
	r := newRig(t)
	var all []Session
	for place := range uint32(6) {
		e := session4()
		if place%2 == 1 {
			e = session6()
		}
		e.Place = place
		e.CallerID += place
		e.BackendID += place
		all = append(all, r.enter(e, toLoopback(), toLoopback()))
	}
	half := all[2] // of which one way was deleted
	if err := r.objects.Sessions4.Delete(r.shard.flows(&half, hop{}, hop{})[1].key); err != nil {
		t.Fatal(err)
	}
	r.shard.Way(all[3].Place, 1).SetOff() // that was about to leave
	r.shard.Reset(all[4].Place, all[4].Gen+100)
	s, err := r.Survey()
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range []bool{true, true, false, false, false, true} {
		if got := s.Has(0, all[k].Place, all[k].Gen); got != want {
			t.Errorf("session %d: %v, want %v", k, got, want)
		}
	}
	if s.Has(0, all[0].Place, all[0].Gen+1) || s.Has(0, all[0].Place, 0) || s.Has(0, 1<<30, 1) {
		t.Error("it has sessions of other generations or places")
	}
	deleted, err := r.Prune(func(shard int, place, gen uint32) bool {
		return shard == 0 && s.Has(shard, place, gen) && place != 5
	})
	if err != nil || deleted != 1+2+2+2 {
		t.Errorf("%d entries deleted, want 7; %v", deleted, err)
	}
	if s, err = r.Survey(); err != nil {
		t.Fatal(err)
	}
	for k, want := range []bool{true, true, false, false, false, false} {
		if got := s.Has(0, all[k].Place, all[k].Gen); got != want {
			t.Errorf("after Prune session %d: %v, want %v", k, got, want)
		}
	}
}
