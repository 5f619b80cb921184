# Ends every process of one terminal session, from inside its container. $1 marks them: a part of their environment.
# A process that cleaned its environment is found by the session (setsid) it shares with a marked one.
# Exits 0 once none is left. Needs a POSIX shell, /proc and grep (not -F: that of busybox stops at the first NUL).
mark=$1
sessions=" "
pids=

stat_of() { # sets state and session of process $1
    state= session=
    IFS= read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086
    set -- ${line##*) }
    state=$1 session=$4
}

find_all() {
    pids=
    for file in $(LC_ALL=C grep -ls "$mark" /proc/[0-9]*/environ 2>/dev/null); do
        pid=${file#/proc/} pid=${pid%/*}
        stat_of "$pid" || continue
        [ "$state" = Z ] && continue
        case $sessions in *" $session "*) ;; *) [ "$session" = 0 ] || sessions="$sessions$session " ;; esac
    done
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        stat_of "$pid" || continue
        [ "$state" = Z ] && continue
        case $sessions in *" $session "*) pids="$pids $pid" ;; esac
    done
    [ -n "$pids" ]
}

tell() { for pid in $pids; do kill "-$1" "$pid" 2>/dev/null; done; }

pause() { sleep 0.05 2>/dev/null || sleep 1; }

find_all || exit 0
tell HUP
tell CONT
tries=20
while [ "$tries" -gt 0 ]; do
    pause
    find_all || exit 0
    tries=$((tries - 1))
    [ "$tries" -lt 10 ] && tell KILL
done
exit 1
