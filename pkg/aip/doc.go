// Package aip owns the conventions that the API's methods share, after the API Improvement Proposals of
// aip.dev: sizes and tokens of pages (AIP-158), filters (AIP-160) and resource names (AIP-122). It knows no
// resource and no storage: what a filter's field or a cursor means is the caller's business.
package aip
