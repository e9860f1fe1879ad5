# Completion of meetwire for fish. Use it with: meetwire completion fish > ~/.config/fish/completions/meetwire.fish

function __meetwire_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l candidates ($words[1] __complete fish $words[2..-1] "$current" 2>/dev/null)
    if test "$candidates[1]" = ':files'
        __fish_complete_path "$current"
    else
        printf '%s\n' $candidates
    end
end

complete -c meetwire -f -a '(__meetwire_complete)'
