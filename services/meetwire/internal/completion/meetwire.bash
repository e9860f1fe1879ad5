# Completion of meetwire for bash. Use it with: source <(meetwire completion bash)

_meetwire() {
  local IFS=$'\n' line
  COMPREPLY=()
  while read -r line; do
    if [[ $line == ':files' ]]; then
      compopt -o filenames 2>/dev/null
      while read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}")
      return
    fi
    COMPREPLY+=("$line")
  done < <("${COMP_WORDS[0]}" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _meetwire meetwire
