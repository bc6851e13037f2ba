package relay

import (
	"context"

	"srtrelay/relay/takeover"
)

// fileProbe is the kind of the descriptor by which the keeper finds out whether the service
// manager keeps more.
const fileProbe = "probe"

// keeperProof is what a keeper knows of what the service manager really has.
type keeperProof struct {
	asked  bool // whether there is a store at all
	none   bool // there is none: nothing is sent
	due    bool // something was stored since the manager was last asked
	full   bool // it has not kept everything then
	proven bool // it has had everything since the checkpoint was stored
}

// findStore finds out whether there is a store before anything is stored: systemd writes a line
// to the journal for each descriptor that it does not keep. What it has of a process before
// shows that there is one.
func (k *keeper) findStore(ctx context.Context) error {
	if k.asked || len(k.kept) > 0 {
		return nil
	}
	full, err := k.isFull(ctx)
	if err != nil {
		return err
	}
	k.asked, k.none = true, full
	if full {
		k.log.Warn("the service manager keeps no descriptors, sessions end with a crash: see FileDescriptorStoreMax= of the unit")
	}
	return nil
}

// prove finds out whether the service manager has kept everything.
func (k *keeper) prove(ctx context.Context) error {
	if !k.due {
		return nil
	}
	full, err := k.isFull(ctx)
	if err != nil {
		return err
	}
	if full && !k.full {
		k.log.Warn("the service manager does not keep all descriptors, sessions end with a crash: see FileDescriptorStoreMax= of the unit",
			"needed", len(k.kept)+1)
	}
	k.due, k.full, k.proven = false, full, k.proven || !full
	return nil
}

func (k *keeper) isFull(ctx context.Context) (bool, error) {
	return k.manager.Full(ctx, storeName(takeover.File{Kind: fileProbe}))
}
