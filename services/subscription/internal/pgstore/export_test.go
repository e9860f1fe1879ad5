package pgstore

// Change is what a hook of DisableWebhook is given.
type Change = change
