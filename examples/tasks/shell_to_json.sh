# From the shell to JSON.
rmtrnn spectrum vanilla --sigma-w 1.05 --sigma-b 0.05 --weights orthogonal --T 8 --json > law.json
python -c "import json; print(json.load(open('law.json')).keys())"
