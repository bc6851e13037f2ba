package answer

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The closed lists stand in this package. The API's description and the web
// page cannot import it, so this test compares their copies.
func TestClosedListsAreDescribed(t *testing.T) {
	document := read(t, "../openapi.yaml")
	for name, want := range map[string][]string{
		"role":        Roles,
		"sort":        SortOrders,
		"encryption":  {EncryptionNone, EncryptionAESCTR, EncryptionAESGCM},
		"ClusterSort": ClusterSortOrders,
		"RelayState":  RelayStates,
		"group_type":  {GroupBroadcast, GroupBackup},
	} {
		found := regexp.MustCompile(`\b`+name+`\b[^\[]*enum: \[([^\]]*)\]`).FindAllStringSubmatch(document, -1)
		if len(found) == 0 {
			t.Errorf("openapi.yaml has no enum of %s", name)
		}
		for _, match := range found {
			if got := strings.Split(match[1], ", "); !slices.Equal(got, want) {
				t.Errorf("openapi.yaml: %s is one of %v, want %v", name, got, want)
			}
		}
	}
	_, kinds, _ := strings.Cut(document, "EventKind:\n      type: string\n      enum:\n")
	listed := regexp.MustCompile(`^(?: +- [a-z-]+\n)+`).FindString(kinds)
	if got := regexp.MustCompile(`[a-z][a-z-]*`).FindAllString(listed, -1); !slices.Equal(got, EventKinds) {
		t.Errorf("openapi.yaml: an event's kind is one of %v, want %v", got, EventKinds)
	}
}

func TestWebPageHearsEveryKindOfEvent(t *testing.T) {
	_, kinds, _ := strings.Cut(read(t, "../web/ui/feed.js"), "export const kinds = [")
	kinds, _, _ = strings.Cut(kinds, "]")
	if got := regexp.MustCompile(`[a-z][a-z-]*`).FindAllString(kinds, -1); !slices.Equal(got, EventKinds) {
		t.Errorf("feed.js hears %v, want %v", got, EventKinds)
	}
}

func TestWebPageNoticesTheSameLoss(t *testing.T) {
	if want := fmt.Sprintf("const noticed = %v;", NoticedLoss); !strings.Contains(read(t, "../web/ui/verdict.js"), want) {
		t.Errorf("verdict.js has no %q", want)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
